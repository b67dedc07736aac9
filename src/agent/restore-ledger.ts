/** A backup made into a server's ledger, and proved by reading that back. Blocks the thread it runs in. */
import {
  createTally,
  readBackup,
  type KeptFile,
  type Manifest,
  type RecoveryKey,
} from "../backup/index.ts";
import {
  readSqliteLedger,
  restoreSqliteLedger,
  type Epoch,
  type KeyValue,
  type Revision,
  type SqliteRestore,
} from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";

export type RestoredLedger = {
  readonly manifest: Manifest;
  readonly epoch: Epoch;
  readonly revision: Revision;
};

/**
 * Restores the backup at `options.backup` into a new file at `options.ledgerPath`; when it throws,
 * there is no such file. Throws `backup-damaged`, `backup-wrong-key`, `backup-too-new`,
 * `file-exists`, `disk-full`.
 */
export async function restoreLedgerFile(
  deps: { random: Random },
  options: {
    backup: string;
    keys: readonly RecoveryKey[];
    ledgerPath: string;
    /** Of the history that is replaced, where it is known to be later than the backup's. */
    generationBefore?: number;
    onFile?: (file: KeptFile) => void;
  },
): Promise<RestoredLedger> {
  const { ledgerPath, onFile } = options;
  let restore: SqliteRestore | undefined;
  try {
    const manifest = await readBackup(options.backup, options.keys, {
      onManifest({ ledger }) {
        const revision = ledger.revision as Revision;
        const { generationBefore = 0 } = options;
        restore = restoreSqliteLedger(deps, { path: ledgerPath, revision, generationBefore });
      },
      ...(onFile === undefined ? {} : { onFile }),
      onRecords: (records) => restore?.add(records as readonly KeyValue[]),
    });
    if (!restore) throw new SkerryError({ code: "internal", message: "a backup without a ledger" });
    const { epoch, revision } = restore.finish();
    const tally = createTally();
    for (const page of readSqliteLedger(ledgerPath)) for (const one of page) tally.add(one);
    if (tally.content().sha256 !== manifest.ledger.sha256) {
      throw new SkerryError({
        code: "backup-damaged",
        message: "the restored ledger is not the one that was backed up",
        hint: "the disk or the memory of this machine may be failing",
      });
    }
    return { manifest, epoch, revision };
  } catch (error) {
    restore?.abandon();
    throw error;
  }
}

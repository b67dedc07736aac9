/** Backups on this machine, for the command line: also when no agent runs any more. */
import { tmpdir } from "node:os";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  lookIntoFolder,
  parseRecoveryKey,
  type BackupMeta,
  type Manifest,
  type RecoveryKey,
} from "../backup/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { readRecoveryKey } from "./cell-backups.ts";
import { backupsFolder } from "./data-folder.ts";
import { restoreLedgerFile } from "./restore-ledger.ts";

/** Newest first, each with the path of its file. */
export const keptBackups = (
  dataDir: string,
): Promise<readonly (BackupMeta & { readonly path: string })[]> =>
  lookIntoFolder({ log: silentLog }, backupsFolder(dataDir));

/**
 * The key in `content`, the text of a file, or else this server's own. Throws `invalid-recovery-key`,
 * `recovery-key-missing`.
 */
export function readKeyHere(dataDir: string, content: string | undefined): RecoveryKey {
  const own = content === undefined ? readRecoveryKey(dataDir) : parseRecoveryKey(content);
  if (own) return own;
  throw new SkerryError({
    code: "recovery-key-missing",
    message: "there is no key here that opens the backup",
    hint: "give the recovery key of the cell: --key FILE",
  });
}

/** Restores a file into a scratch place and takes that away again. Throws as `restoreLedgerFile`. */
export async function proveBackupFile(
  deps: { random: Random },
  options: { file: string; key: RecoveryKey },
): Promise<Manifest> {
  const scratch = mkdtempSync(join(tmpdir(), "skerry-backup-"));
  try {
    const ledgerPath = join(scratch, "ledger.db");
    const job = { backup: options.file, keys: [options.key], ledgerPath };
    return (await restoreLedgerFile(deps, job)).manifest;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

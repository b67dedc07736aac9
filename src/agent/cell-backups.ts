/**
 * What a server's backups are made of, and what the servers share about them: the state in the
 * ledger, the authority's files, and the recovery key. Its secret half stands in `identity/` of the
 * servers only, never in the ledger, which a witness outside the cell may hold as well.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  generateRecoveryKey,
  parseRecoveryKey,
  type LastBackup,
  type LedgerRecord,
  type RecoveryKey,
  type Shared,
  type Source,
} from "../backup/index.ts";
import { recoveryKeyPath } from "../identity/index.ts";
import { isStateKey, type KeyValue, type Ledger } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";
import { identityFolder } from "./data-folder.ts";
import type { NodeRecord } from "./config.ts";

const pageKeys = 200;
const lastKey = "backup/last";
const turnKey = "backup/turn";
const recipientKey = "backup/recipient";
/** A server that died while it made a backup holds up the others no longer than this. */
const turnMs = 10 * 60_000;

/** Who makes a backup when, and which is the newest, is no more true after a restore. */
const isKept = (key: string) => isStateKey(key) && key !== lastKey && key !== turnKey;

/** Files of `identity/` that make a machine a server of the cell. */
const authorityFiles = ["ca.json", "ledger-ca.json", "recovery.json"];

/** Undefined where there is none. Throws `file-torn`, `invalid-recovery-key`. */
export function readRecoveryKey(dataDir: string): RecoveryKey | undefined {
  const stored = readRecord(recoveryKeyPath(identityFolder(dataDir)));
  return stored === undefined ? undefined : parseRecoveryKey((stored as { secret: string }).secret);
}

export function sourceOf(deps: { ledger: Ledger; dataDir: string; record: NodeRecord }): Source {
  const { ledger, dataDir, record } = deps;
  const pages = async function* (atRevision: KeyValue["modRevision"]) {
    for (let after = ""; ;) {
      const page = await ledger.list("", { limit: pageKeys, atRevision, after });
      yield page.items.filter(({ key }) => isKept(key)) satisfies readonly LedgerRecord[];
      after = page.items.at(-1)?.key ?? after;
      if (!page.more) return;
    }
  };
  return {
    async ledger() {
      const { engine } = await ledger.status();
      const { revision } = await ledger.list("", { limit: 1 });
      return { engine, epoch: ledger.epoch, revision, pages: pages(revision) };
    },
    files: async () => [
      ...authorityFiles.flatMap((name) => filesAt(dataDir, `identity/${name}`)),
      ...(existsSync(join(dataDir, "tokens")) ? readdirSync(join(dataDir, "tokens")) : [])
        .filter((name) => /^[a-z0-9]+\.(json|used)$/.test(name))
        .flatMap((name) => filesAt(dataDir, `tokens/${name}`)),
    ],
    node: () => record,
  };
}

const filesAt = (dataDir: string, name: string) => {
  const path = join(dataDir, name);
  return existsSync(path) ? [{ name, content: new Uint8Array(readFileSync(path)) }] : [];
};

export type CellShared = Shared & {
  /** Whether somebody has taken the recovery key to a safe place, as far as the cell knows. */
  readonly isKeyTaken: () => Promise<boolean>;
  markKeyTaken(): Promise<void>;
};

export function sharedOver(deps: {
  ledger: Ledger;
  random: Random;
  dataDir: string;
  node: string;
  nowMs: () => number;
}): CellShared {
  const { ledger, dataDir, nowMs } = deps;
  const read = async <T>(key: string): Promise<{ value: T | undefined; modRevision: number }> => {
    const { keyValue } = await ledger.get(key);
    return keyValue
      ? {
          value: JSON.parse(new TextDecoder().decode(keyValue.value)) as T,
          modRevision: keyValue.modRevision,
        }
      : { value: undefined, modRevision: 0 };
  };
  /** True when nobody wrote in between. */
  const write = async (key: string, modRevision: number, value: unknown): Promise<boolean> => {
    const outcome = await ledger.transact(
      [{ key, modRevision: modRevision as KeyValue["modRevision"] }],
      [{ type: "put", key, value: new TextEncoder().encode(JSON.stringify(value)) }],
    );
    return outcome.state === "done";
  };
  type Recipient = { readonly recipient: string; readonly takenAtMs?: number };

  return {
    async keys() {
      const told = await read<Recipient>(recipientKey);
      let own = readRecoveryKey(dataDir);
      if (!own && told.value) {
        throw new SkerryError({
          code: "recovery-key-missing",
          message: "this server was not given the key that opens the cell's backups",
          hint: `copy identity/recovery.json here from another server of the cell`,
          retryable: true,
        });
      }
      if (!own) {
        own = generateRecoveryKey(deps.random);
        writeRecord(recoveryKeyPath(identityFolder(dataDir)), { secret: own.secret });
      }
      if (told.value?.recipient !== own.recipient)
        await write(recipientKey, told.modRevision, { recipient: own.recipient });
      return [own];
    },
    last: async () => (await read<LastBackup>(lastKey)).value,
    async tell(last) {
      const { modRevision } = await read(lastKey);
      await write(lastKey, modRevision, last);
    },
    async takeTurn() {
      const { value, modRevision } = await read<{ by: string; atMs: number }>(turnKey);
      const isOthers = value !== undefined && value.by !== deps.node;
      if (isOthers && Math.abs(nowMs() - value.atMs) < turnMs) return false;
      return await write(turnKey, modRevision, { by: deps.node, atMs: Math.floor(nowMs()) });
    },
    isKeyTaken: async () => (await read<Recipient>(recipientKey)).value?.takenAtMs !== undefined,
    async markKeyTaken() {
      const { value, modRevision } = await read<Recipient>(recipientKey);
      if (value)
        await write(recipientKey, modRevision, { ...value, takenAtMs: Math.floor(nowMs()) });
    },
  };
}

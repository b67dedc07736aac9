/** What this room needs of others; bound in `agent/paths/backup-path.ts` and `hub/paths/backup-path.ts`. */
import type { RecoveryKey } from "./age/keys.ts";
import type { BackupMeta } from "./meta.ts";
import type { LedgerRecord } from "./record.ts";
import type { KeptFile, Manifest, SealJob } from "./sealed.ts";

/** The ledger of one revision. */
export type LedgerView = {
  readonly engine: string;
  readonly epoch: string;
  readonly revision: number;
  /** Every key of the cell's state, in order. */
  readonly pages: AsyncIterable<readonly LedgerRecord[]>;
};

/** What a backup is made of. */
export interface Source {
  ledger(): Promise<LedgerView>;
  /** The authority and the tokens of the cell, as this server has them. */
  files(): Promise<readonly KeptFile[]>;
  /** This server's record. */
  node(): Readonly<Record<string, unknown>>;
}

/** The hard work, in a thread that may block. */
export interface Workbench {
  seal(job: SealJob): Promise<{ bytes: number; sha256: string }>;
  /** Opens it, restores it in a scratch place and reads that back. Throws `backup-damaged`, … */
  prove(path: string, keys: readonly RecoveryKey[]): Promise<Manifest>;
}

/** The newest proved backup, as all servers of the cell know it. */
export type LastBackup = {
  readonly meta: BackupMeta;
  readonly on: readonly string[];
};

/** What the servers share about backups: kept in the ledger, so that they take turns. */
export interface Shared {
  /** Current key first; makes one when there is none. */
  keys(): Promise<readonly RecoveryKey[]>;
  last(): Promise<LastBackup | undefined>;
  tell(last: LastBackup): Promise<void>;
  /** False when another server is at it. */
  takeTurn(): Promise<boolean>;
}

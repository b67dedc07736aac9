/**
 * What passes between the thread that owns a ledger and the one that uses it. Names carry a prefix
 * because several rooms share one thread. Watches are paced by credit: the owner sends no more than
 * a window of batches that the user has not taken yet, so that neither side buffers without bound;
 * a watch that lags falls back to the ledger's history, and in the end to `compacted`.
 */
import type { EncodedError } from "../../lib/errors.ts";
import type { Thread } from "../../runtime/thread/index.ts";
import type {
  Condition,
  Epoch,
  KeyValue,
  LeaseId,
  LedgerStatus,
  Operation,
  Revision,
  WatchBatch,
} from "../ledger.ts";

/** `TransactionOutcome` with its error in wire form. */
export type EncodedOutcome =
  | { readonly state: "done"; readonly revision: Revision }
  | {
      readonly state: "refused";
      readonly revision: Revision;
      readonly current: readonly KeyValue[];
    }
  | { readonly state: "unknown"; readonly cause: EncodedError };

export type LedgerMethods = {
  "ledger.epoch": () => Epoch;
  "ledger.get": (argument: {
    key: string;
    atRevision?: Revision;
    stale?: boolean;
  }) => Promise<{ keyValue: KeyValue | undefined; revision: Revision }>;
  "ledger.list": (argument: {
    prefix: string;
    atRevision?: Revision;
    stale?: boolean;
    limit?: number;
    after?: string;
  }) => Promise<{ items: readonly KeyValue[]; revision: Revision; more: boolean }>;
  "ledger.transact": (argument: {
    call: number;
    conditions: readonly Condition[];
    operations: readonly Operation[];
    timeoutMs?: number;
  }) => Promise<EncodedOutcome>;
  /** The caller of that transaction has given up. */
  "ledger.cancel": (call: number) => void;
  "ledger.watch-open": (argument: { watch: number; prefix: string; after?: Revision }) => void;
  "ledger.watch-credit": (argument: { watch: number; batches: number }) => void;
  "ledger.watch-close": (watch: number) => void;
  "ledger.grant": (ttlMs: number) => Promise<{ lease: LeaseId; ttlMs: number }>;
  "ledger.renew": (lease: LeaseId) => Promise<{ ttlMs: number }>;
  "ledger.revoke": (lease: LeaseId) => Promise<void>;
  "ledger.compact": (revision: Revision) => Promise<void>;
  "ledger.snapshot": (
    path: string,
  ) => Promise<{ revision: Revision; bytes: number; sha256: string }>;
  "ledger.status": () => Promise<LedgerStatus>;
  "ledger.close": () => Promise<void>;
};

export type LedgerThreadEvents = {
  "ledger.batches": { watch: number; batches: readonly WatchBatch[] };
  /** Without error: the ledger ended it. */
  "ledger.watch-ended": { watch: number; error?: EncodedError };
};

/** What the user's side needs of a thread that serves a ledger, whatever else it serves. */
export type LedgerThread = Pick<Thread<LedgerMethods, LedgerThreadEvents>, "call" | "on" | "ended">;

export const windowBatchesMax = 256;
export const windowBytesMax = 4 * 1024 * 1024;

/**
 * The ledger: a cell's linearizable, watchable state. Every implementation passes one contract
 * suite (`test/contract/ledger.ts`); callers may not know which they have.
 *
 * An unknown outcome is a value, so that every caller must branch on it: a write that timed out or
 * lost its connection is always `unknown`, a read never is. Failures are thrown as SkerryError with
 * one of `LedgerErrorCode`. Never retry a transaction blindly: read again and compare.
 */
import type { Brand } from "../lib/brand.ts";

/** Position in the cell's single history. Never goes back within one epoch. 0 is "before all". */
export type Revision = number & Brand<"Revision">;
/** Changes when history was rewritten (restore, forced new cluster): cached revisions are void. */
export type Epoch = string & Brand<"Epoch">;
export type LeaseId = string & Brand<"LeaseId">;
/** Grows with every election of one name; a resource refuses a writer with a smaller one. */
export type Fence = number & Brand<"Fence">;

export type LedgerErrorCode =
  | "compacted"
  | "future-revision"
  | "ledger-unavailable"
  | "disk-full"
  | "lease-not-found"
  | "invalid-transaction";

/** Keys are `/`-separated printable ASCII, at most 1 KiB; values are bytes, at most 1 MiB. */
export type KeyValue = {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Writes since creation; 1 for a fresh key. */
  readonly version: number;
  readonly lease?: LeaseId;
};

export type ReadOptions = {
  readonly atRevision?: Revision;
  /** May answer from a copy that lags; otherwise linearizable. */
  readonly stale?: boolean;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
};

/** `modRevision` 0 means: the key does not exist. */
export type Condition = { readonly key: string; readonly modRevision: Revision | 0 };

export type Operation =
  | {
      readonly type: "put";
      readonly key: string;
      readonly value: Uint8Array;
      readonly lease?: LeaseId;
    }
  | { readonly type: "delete"; readonly key: string };

export type TransactionOutcome =
  | { readonly state: "done"; readonly revision: Revision }
  /** A condition did not hold; nothing changed. `current` holds the keys of the failed conditions that exist. */
  | {
      readonly state: "refused";
      readonly revision: Revision;
      readonly current: readonly KeyValue[];
    }
  | { readonly state: "unknown"; readonly cause: Error };

export type LedgerEvent =
  | { readonly type: "put"; readonly keyValue: KeyValue; readonly previous?: KeyValue }
  | { readonly type: "delete"; readonly key: string; readonly previous?: KeyValue };

/** One whole revision, in order, once. Without events it is a bookmark: "you have seen up to here". */
export type WatchBatch = { readonly revision: Revision; readonly events: readonly LedgerEvent[] };

export type CampaignOptions = {
  /** Who stands, for the others to read: a node's name. */
  readonly id: string;
  readonly ttlMs: number;
  readonly signal?: AbortSignal;
  /**
   * Whose key ahead may be deleted without waiting for his lease. Only for elections whose leaders
   * write on condition of their key (L10): without that two would lead at once.
   */
  readonly presumedDead?: PresumedDead;
};

/** By other evidence than the lease. A holder that is usurped and comes back is spared for six TTLs. */
export type PresumedDead = {
  is(holder: string): boolean;
  /** Called when `is` may have changed its mind. Returns the unsubscriber. */
  onChange(listener: () => void): () => void;
};

export type Campaign = {
  /** Stands in the ledger at revision `fence` for as long as this leads: what each write depends on. */
  readonly key: string;
  readonly fence: Fence;
  /** Aborts as soon as leadership can no longer be proved. */
  readonly lost: AbortSignal;
  resign(): Promise<void>;
};

export interface Ledger {
  readonly epoch: Epoch;

  get(
    key: string,
    options?: ReadOptions,
  ): Promise<{ keyValue: KeyValue | undefined; revision: Revision }>;

  /** Keys under `prefix` in byte order, all at one revision; pass `revision` and the last key for the next page. */
  list(
    prefix: string,
    options?: ReadOptions & { limit?: number; after?: string },
  ): Promise<{ items: readonly KeyValue[]; revision: Revision; more: boolean }>;

  /**
   * Applies all operations at one new revision if all conditions hold. A key may stand once among
   * the operations. A `put` with a lease that is gone throws `lease-not-found`.
   */
  transact(
    when: readonly Condition[],
    then: readonly Operation[],
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<TransactionOutcome>;

  /**
   * Every revision after `after` (default: now) that touches `prefix`. Throws `compacted` from the
   * iteration when `after` is older than the compacted history.
   */
  watch(
    prefix: string,
    options?: { after?: Revision; signal?: AbortSignal },
  ): AsyncIterable<WatchBatch>;

  /** The effective TTL is at least `ttlMs` and is told. Keys of an expired lease are deleted at one revision. */
  grant(ttlMs: number): Promise<{ lease: LeaseId; ttlMs: number }>;
  /** Throws `lease-not-found` when it has expired. */
  renew(lease: LeaseId): Promise<{ ttlMs: number }>;
  revoke(lease: LeaseId): Promise<void>;

  /** Resolves once elected; waits behind others of the same `name`, but for those presumed dead. */
  campaign(name: string, options: CampaignOptions): Promise<Campaign>;

  /** Forgets history up to and with `revision`; current values stay. */
  compact(revision: Revision): Promise<void>;
  /** A consistent copy in a new file at `path`. */
  snapshot(path: string): Promise<{ revision: Revision; bytes: number; sha256: string }>;
  status(): Promise<LedgerStatus>;
  close(): Promise<void>;
}

export type LedgerStatus = {
  readonly engine: "sqlite" | "etcd" | "postgres";
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  readonly bytes: number;
  readonly members: readonly {
    name: string;
    state: "leader" | "follower" | "learner" | "unreachable";
  }[];
  readonly quorum: "held" | "lost";
};

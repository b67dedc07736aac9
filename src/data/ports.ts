/** What this pillar needs of others; bound by the roots (`agent/paths/sync-path.ts`, `hub/paths/`). */
import type { EgressPolicy, Operation, PackedState, SnapshotPiece } from "../api/records/index.ts";
import type { LeavingBatch, LeavingSnapshot } from "./documents/leaving.ts";
import type { SnapshotPlace } from "./documents/snapshots.ts";
import type { CollectionEgress, OperationLog } from "./documents/store.ts";
import type { FeedStates, FeedWish, FillAnswer, PullQuery } from "./global/documents.ts";
import type { ColumnBatch, Vector } from "./streams/store.ts";

/** Who asks for documents of a strong collection: `id` is the SPIFFE id of the verified `token`. */
export type StrongCaller = { readonly id: string; readonly token: string };
export type StrongItem = {
  readonly key: string;
  readonly value: Uint8Array;
  /** Of the ledger, at which it was last written. */
  readonly revision: number;
};
/** `revision` 0: it does not exist. */
export type StrongCondition = { readonly key: string; readonly revision: number };
/** Without a value: it is deleted. */
export type StrongChange = { readonly key: string; readonly value?: Uint8Array };
/** A write that takes effect once under an id (a SHA-256, base64url), and what is kept to know it again. */
export type StrongOnce = { readonly id: string; readonly value: Uint8Array };

/**
 * The part of the cell's ledger where documents of strong collections stand, from any node. Throws
 * what changed nothing; every answer is linearizable.
 */
export interface StrongLedger {
  /** In the order of the keys, all of one revision; or, without items, what was written under the id `once`. */
  read(
    caller: StrongCaller,
    collection: string,
    keys: readonly string[],
    once?: string,
  ): Promise<{
    readonly revision: number;
    readonly items: readonly (StrongItem | undefined)[];
    readonly receipt?: { readonly value: Uint8Array; readonly revision: number };
  }>;
  /** By key; `revision` for further pages of one listing. */
  list(
    caller: StrongCaller,
    collection: string,
    query: { limit: number; after?: string; revision?: number },
  ): Promise<{
    readonly epoch: string;
    readonly revision: number;
    readonly items: readonly StrongItem[];
    readonly more: boolean;
  }>;
  /** All or none. `refused`: a condition did not hold, or something was written under the id of `once`. */
  transact(
    caller: StrongCaller,
    collection: string,
    write: {
      when: readonly StrongCondition[];
      changes: readonly StrongChange[];
      once?: StrongOnce;
    },
  ): Promise<
    | { readonly state: "done"; readonly revision: number }
    | { readonly state: "refused" }
    | { readonly state: "unknown"; readonly cause: string }
  >;
  /** Whole revisions behind this one, in order, once; without items: nothing up to there. Throws `compacted`. */
  watch(
    caller: StrongCaller,
    collection: string,
    from: { epoch: string; revision: number; signal: AbortSignal },
  ): AsyncIterable<{
    readonly epoch: string;
    readonly revision: number;
    readonly items: readonly (StrongItem | { readonly key: string; readonly value?: undefined })[];
  }>;
}

/**
 * The part of the cell's ledger where groups of the cell stand, from any node. Throws what changed
 * nothing; nodes ask for themselves, not for applications.
 */
export interface GroupLedger {
  /** This one. */
  readonly node: string;
  open(ttlMs: number): Promise<{ readonly session: string; readonly ttlMs: number }>;
  /** False: it is over, and so is all that hung on it. */
  renew(session: string): Promise<boolean>;
  end(session: string): Promise<void>;
  /** With the fencing token; undefined: another holds it, or nobody knows. The same session gets what it holds already. */
  claim(
    name: string,
    by: { session: string; waitMs: number; signal: AbortSignal },
  ): Promise<{ readonly token: number } | "session-over" | undefined>;
  release(name: string, token: number): Promise<void>;
  /** The node that holds it. */
  holder(name: string): Promise<string | undefined>;
  read(key: string): Promise<{ readonly text: string; readonly revision: number } | undefined>;
  list(
    prefix: string,
  ): Promise<readonly { readonly key: string; readonly text: string; readonly revision: number }[]>;
  /** On condition of its last change (0: it is not there) and of the claim. Without text it is deleted. */
  write(
    key: string,
    text: string | undefined,
    when: { revision: number; fence?: { name: string; token: number } },
  ): Promise<
    | { readonly state: "done"; readonly revision: number }
    | { readonly state: "fenced" | "changed" | "unknown" }
  >;
}

/** A piece of a log after the gate. `C` is the type that only the gate can make. */
export type ClearedLog<C> = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  /** Entries that leave; positions of all others are counted as seen. */
  readonly entries: number;
  readonly bytes: C;
};

/** privacy/gate: the one way out of the cell. Runs in the storage thread. */
export interface Gate<C> {
  /** By stream; nothing leaves of a stream that is not named. */
  setPolicies(policies: Readonly<Record<string, EgressPolicy>>): void;
  clear(batch: ColumnBatch): ClearedLog<C>;
}

/** The gate for documents. Runs in the storage thread. */
export interface OperationGate<C> {
  /** By collection; nothing leaves of one that is not named. */
  setPolicies(collections: Readonly<Record<string, CollectionEgress>>): void;
  /** For the hub's copies of these collections; undefined when none of them may leave. */
  clear(log: OperationLog, collections: readonly string[]): ClearedLog<C> | undefined;
  /** Of one collection; undefined when nothing of it may leave. */
  clearSnapshot(piece: SnapshotPiece, collection: string): C | undefined;
}

/** The gate's second look, at the hub. */
export interface OperationRecheck {
  /** Throws when a batch breaks the policies that it came with. */
  check(batch: LeavingBatch): void;
  checkSnapshot(piece: LeavingSnapshot): void;
  /** What a policy lets out of an operation that left by an earlier one. */
  narrow(operation: Operation, policy: EgressPolicy): Operation;
  narrowState(state: PackedState, policy: EgressPolicy): PackedState;
  /** Whether all of a field, by JSON pointer, is let out. */
  lets(policy: EgressPolicy): (path: string) => boolean;
}

/** Asked on the main thread, answered in the storage thread. */
export interface DocumentEgress<C> {
  /** Undefined: this store has nothing of that origin from there on, or nothing of these leaves. */
  clear(query: {
    origin: string;
    from: number;
    to?: number;
    bytesMax?: number;
    collections: readonly string[];
  }): Promise<ClearedLog<C> | undefined>;
  /** The next piece of a collection's documents; undefined when nothing of it leaves. */
  clearSnapshot(query: {
    collection: string;
    after?: SnapshotPlace | undefined;
    bytesMax?: number;
  }): Promise<C | undefined>;
}

/** The hub at the other end of a link: takes only what passed the gate. */
export interface Hub<C> {
  /** The durable vector of the origins in the batch, after the hub committed it. */
  push(bytes: C, options: { signal: AbortSignal; isUrgent?: boolean }): Promise<Vector>;
  /** All that the hub has of this cell. */
  vector(options: { signal: AbortSignal }): Promise<Vector>;
}

/** Asked on the main thread, answered in the storage thread. */
export interface Egress<C> {
  /** Undefined: this store has nothing of that origin from there on. */
  clear(query: {
    origin: string;
    from: number;
    bytesMax?: number;
  }): Promise<ClearedLog<C> | undefined>;
}

/** The hub's copies of this cell's collections, at the other end of a link. */
export interface DocumentHub<C> {
  /** Tops of the batch's origin, by collection, after the hub committed it. */
  push(bytes: C, options: { signal: AbortSignal; isUrgent?: boolean }): Promise<FeedStates>;
  feeds(
    wishes: Readonly<Record<string, FeedWish>>,
    options: { signal: AbortSignal },
  ): Promise<FeedStates>;
  /** By collection, the fields that queries at the hub are to find documents by; an older hub: `unknown-method`. */
  index(
    paths: Readonly<Record<string, readonly string[]>>,
    options: { signal: AbortSignal },
  ): Promise<void>;
  /** A piece of a collection's documents, where the log does not go back far enough. */
  fill(bytes: C, options: { signal: AbortSignal }): Promise<FillAnswer>;
  /** The next piece of a log of the hub for this cell; empty when nothing came for a while. */
  pull(query: Omit<PullQuery, "cell">, options: { signal: AbortSignal }): Promise<Uint8Array>;
}

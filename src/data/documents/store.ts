/**
 * The contract of a node's store of documents. One implementation lives in the storage thread
 * (`sqlite-store.ts`), one speaks to it from the main thread (`thread.ts`). Invariants M1 to M9 stand
 * in the README.
 */
import type { Observed, Proof } from "../streams/put-back.ts";
import type { EgressPolicy, FieldChange, Operation, TextDelta } from "../../api/records/index.ts";
import type { Conflict } from "./body.ts";
import type { JsonObject } from "./json.ts";
import type { ReferenceRule, UniqueRule } from "./rules.ts";
import type { ReplicatedSnapshots } from "../replication/replicated.ts";
import type { SnapshotPiece } from "./snapshot.ts";
import type { SnapshotPlace } from "./snapshots.ts";
import type { TruncateLimits, Truncated } from "./truncate.ts";
import type { ApplyAnswer, EncodedBatch, LogQuery, Refused, Vector } from "../streams/store.ts";

export type { Conflict } from "./body.ts";
export type { Json, JsonObject } from "./json.ts";

/** What must be known of a Collection object. */
export type CollectionDeclaration = {
  readonly name: string;
  /** Goes with every write, so that others can tell which schema the writer knew. */
  readonly schemaVersion: number;
  /** What becomes of a write that does not fit the fields. */
  readonly onMismatch: "refuse" | "warn";
  readonly fields: readonly FieldDeclaration[];
  /** Written at the hub, and only read here. */
  readonly readOnly?: boolean;
  /** Written at the hub as well, which gives this cell what is for it. */
  readonly fromHub?: boolean;
  /** What may leave the cell; absent: nothing. */
  readonly egress?: CollectionEgress;
  /** JSON pointers. */
  readonly indexes?: readonly string[];
  readonly unique?: readonly UniqueRule[];
  readonly references?: readonly ReferenceRule[];
  /** What nobody changed for so long is deleted. */
  readonly retention?: { readonly maxAgeMs: number };
  /** Towards the hub the higher goes first; 0 when absent. */
  readonly priority?: number;
};

/** Of two policies of a collection, the one of the later revision of its object holds. */
export type CollectionEgress = { readonly policy: EgressPolicy; readonly revision: number };

export type FieldType =
  | "string"
  | "number"
  | "integer"
  | "boolean"
  | "any"
  | "counter"
  | "set"
  | "list"
  | "text";

export type FieldDeclaration = {
  /** A JSON pointer. */
  readonly path: string;
  readonly type: FieldType;
  readonly required: boolean;
};

export type { FieldChange };

export type DocumentWrite = {
  readonly collection: string;
  readonly id: string;
  /** Of a strong collection only: what its version has to be; null: it must not be there. */
  readonly ifVersion?: string | null;
} & (
  | { readonly do: "put"; readonly body: JsonObject }
  /** JSON merge patch, RFC 7396. */
  | { readonly do: "merge"; readonly patch: JsonObject }
  | { readonly do: "change"; readonly changes: readonly FieldChange[] }
  | { readonly do: "delete" }
);

/** A client's, and whose: what another caller sends under the same key is another write. */
export type GivenKey = {
  readonly key?: string | undefined;
  readonly caller?: string | undefined;
};

export type WriteAnswer =
  | {
      readonly state: "stored";
      /** Documents that are different now; 0 when everything was so already. Committed and fsynced. */
      readonly changed: number;
      /** A store whose vector covers this has the write and everything it knew of. */
      readonly cover: Vector;
      /** Where a write does not fit the collection's fields, and was taken all the same. */
      readonly warnings: readonly string[];
      /** In the order of the request. Absent: there is no such document now. */
      readonly versions: readonly (string | undefined)[];
    }
  | Refused;

export type Document = {
  readonly collection: string;
  readonly id: string;
  /** Equal on every store that has seen the same edits. */
  readonly version: string;
  /** The highest version of the schema that a writer knew. */
  readonly schemaVersion: number;
  readonly body: JsonObject;
  readonly conflicts: readonly Conflict[];
  /** Texts that have attributes, by JSON pointer; the body has their characters only. */
  readonly texts?: Readonly<Record<string, TextDelta>>;
};

export type ListQuery = {
  readonly collection: string;
  /** Documents with a greater id, in the order of their UTF-8 bytes. */
  readonly after?: string;
  /** 1 to 1000. Default 100. */
  readonly limit?: number;
  /** Only documents with conflicts. */
  readonly conflicted?: boolean;
};

/** Fewer than asked for where it would be more than about 4 MiB. */
export type ListPage = {
  readonly documents: readonly Document[];
  /** The last id; absent when there is nothing more. */
  readonly next?: string;
};

export type ChangesQuery = {
  readonly collection: string;
  /** A cursor of this store; absent: from the beginning. */
  readonly since?: string;
  /** 1 to 1000. Default 100. */
  readonly limit?: number;
};

/** The latest state of a document that changed; several changes of it since then are one. */
export type DocumentChange = { readonly id: string; readonly cursor: string } & (
  | { readonly deleted: true }
  | { readonly deleted: false; readonly document: Document }
);

/** Fewer than asked for where it would be more than about 4 MiB. */
export type ChangesPage = {
  readonly changes: readonly DocumentChange[];
  /** Where to go on; always set. */
  readonly cursor: string;
  readonly more: boolean;
};

export type DocumentsStatus = {
  readonly origin: string;
  readonly vector: Vector;
  readonly collections: readonly {
    readonly name: string;
    readonly documents: number;
    readonly conflicted: number;
  }[];
  /** Operations that are stored and wait for others that they knew of. */
  readonly waiting: number;
  /** Of the operations that are kept, as text. */
  readonly logBytes: number;
  /** How far this store's last stamp is ahead of the node's clock. */
  readonly clockAheadMs: number;
};

export type ExpireQuery = {
  /** This node's place among the nodes of the cell, from 0: who deletes first. */
  readonly rank: number;
};

export type Expired = {
  /** Documents deleted in this step, by collection. */
  readonly deleted: Readonly<Record<string, number>>;
  /** Deleted ones that hold nothing any more. */
  readonly cleared: number;
  /** Old enough, and kept because a rule between documents refuses the deletion. */
  readonly kept: number;
  readonly more: boolean;
};

/** After each commit that changed documents or took operations. */
export type DocumentsGrown = { readonly collections: readonly string[]; readonly vector: Vector };

export interface DocumentStore {
  readonly node: string;
  /**
   * Replaces the declared collections; documents and indexes of one that is no longer declared stay.
   * Indexes are filled and emptied between other writes, after this resolves.
   */
  declare(collections: readonly CollectionDeclaration[]): Promise<void>;
  /**
   * All of the writes or none of them, as one operation. Resolves after the fsync. With a `key`, the
   * same write of the same caller sent again to a store that has heard of it does nothing, and another
   * one to these collections is refused (`invalid-query`). Rejects with `storage-failed`, `closed` or
   * `thread-ended`.
   */
  write(writes: readonly DocumentWrite[], options?: GivenKey): Promise<WriteAnswer>;
  /** Throws `collection-unknown`. */
  read(query: { collection: string; id: string }): Promise<Document | undefined>;
  /** Throws `collection-unknown`, `invalid-limit`. */
  list(query: ListQuery): Promise<ListPage>;
  /** Throws `collection-unknown`, `invalid-cursor`, `invalid-limit`. */
  changes(query: ChangesQuery): Promise<ChangesPage>;
  status(): Promise<DocumentsStatus>;
  /** The origin's log from a position on; undefined when this store has nothing from there on. */
  log(query: LogQuery): Promise<EncodedBatch | undefined>;
  /** Stores a piece of a log, and applies what is not waiting for others. Throws `invalid-batch`. */
  apply(bytes: Uint8Array): Promise<ApplyAnswer & { readonly vector: Vector }>;
  vector(): Promise<Vector>;
  /** As of a store of streams: a peer that shows more of this store's log shows that it was put back. */
  observe(vector: Vector, proof?: Proof): Promise<Observed>;
  /** A piece of it; what is forgotten, others have from `snapshots`. */
  truncate(limits: TruncateLimits): Promise<Truncated>;
  /** Deletes a piece of what is older than its collection keeps it. */
  expire(query: ExpireQuery): Promise<Expired>;
  readonly snapshots: ReplicatedSnapshots;
  on(event: "grown", listener: (grown: DocumentsGrown) => void): () => void;
  close(): Promise<void>;
}

/** A piece of one origin's log: the operations of all positions from `from` to `to`, in order. */
export type OperationLog = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly operations: readonly Operation[];
  /** All that this store has. */
  readonly vector: Vector;
};

export type LeavingSnapshotQuery = {
  readonly collection: string;
  readonly after?: SnapshotPlace | undefined;
  readonly bytesMax?: number;
};

/** The store itself, in the storage thread. */
export type LocalDocumentStore = DocumentStore & {
  /** What `log` would encode, for the gate: operations here have passed no policy. */
  readLeaving(query: LogQuery & { readonly to?: number }): OperationLog | undefined;
  /** The same of documents: they have passed no policy. */
  readLeavingSnapshot(query: LeavingSnapshotQuery): SnapshotPiece | undefined;
};

/**
 * The contract of the hub's store of documents: what cells let out of their collections, a copy for
 * each cell and collection, made by the cell's own operations. Positions are counted by cell,
 * collection and origin, so that a batch sent twice changes nothing.
 */
import type { Document, DocumentWrite, GivenKey, WriteAnswer } from "../documents/store.ts";
import type { Shape } from "../documents/leaving.ts";
import type { SnapshotPlace } from "../documents/snapshots.ts";
import type { Vector } from "../streams/store.ts";

/** What a node would send of a collection. */
export type FeedWish = Shape & {
  /** Of two shapes the one of the later revision holds; of one revision, that which knows more kinds. */
  readonly revision: number;
};

/** By collection. `superseded`: the cell has a later policy, which this node has not heard of. */
export type FeedStates = Readonly<
  Record<
    string,
    { readonly state: "open"; readonly tops: Vector } | { readonly state: "superseded" }
  >
>;

/**
 * What became of a piece of documents: it waits for the next one, which goes on from `at`; it was the
 * last one, and the copy is at these positions; it does not go on from what is here; another node is
 * filling this copy; or the cell has a later policy.
 */
export type FillAnswer =
  | { readonly state: "staged"; readonly at: SnapshotPlace }
  | { readonly state: "open"; readonly tops: Vector }
  | { readonly state: "elsewhere" }
  | { readonly state: "busy" }
  | { readonly state: "superseded" };

/** `cell` absent: the hub's own, of a collection that is written here. */
export type GlobalDocument = Document & { readonly cell?: string };

/** A collection that is written at the hub; a document goes to the cells that all of this names. */
export type Publication = {
  readonly name: string;
  /** Absent: whatever cell. */
  readonly cells?: readonly string[];
  /** A JSON pointer to the name, or a list of names, of cells in the document. Absent: all documents. */
  readonly cellField?: string;
  /**
   * Cells write it too. The hub has to know how its fields merge; those that are not listed are plain
   * values.
   */
  readonly fromCells?: { readonly fields: readonly MergedField[] };
  /**
   * Fields by which queries at the hub find documents of it without looking at all of them, as JSON
   * pointers; at most 16. Absent: those that there are stay. Where cells write it too, theirs stay as well.
   */
  readonly indexes?: readonly string[];
};

export type MergedField = {
  /** A JSON pointer. */
  readonly path: string;
  readonly type: "counter" | "set" | "list" | "text";
};

/** What a node of a cell has of the hub's logs, of the collections that its cell reads from the hub. */
export type PullQuery = {
  readonly cell: string;
  readonly collections: readonly string[];
  readonly vector: Vector;
};

export type PublishedAnswer =
  | Pick<WriteAnswer & { state: "stored" }, "state" | "changed" | "warnings" | "versions">
  | (WriteAnswer & { state: "refused" });

export type GlobalListQuery = {
  readonly collection: string;
  /** Absent: all cells. */
  readonly cell?: string;
  /** Only documents with this id. */
  readonly id?: string;
  /** Where a page before ended. */
  readonly after?: string;
  /** 1 to 1000. Default 100. */
  readonly limit?: number;
  readonly conflicted?: boolean;
};

/** By cell, then by id. */
export type GlobalListPage = {
  readonly documents: readonly GlobalDocument[];
  readonly next?: string;
};

export type GlobalCollectionStatus = {
  /** Absent: the hub's own. */
  readonly cell?: string;
  readonly name: string;
  readonly documents: number;
  readonly conflicted: number;
  /** Operations that are stored and wait for others that they knew of. */
  readonly waiting: number;
  /** Its egress changed, and a new copy is being filled; readers have the one before. */
  readonly renewing: boolean;
};

export interface GlobalDocumentStore {
  /**
   * What a cell pushed; committed when this resolves. Answers with the tops of the batch's origin.
   * Throws `invalid-batch`, `egress-violated`, `disk-full`.
   */
  ingest(cell: string, bytes: Uint8Array): Promise<FeedStates>;
  /** A piece of a collection's documents, for a copy that the cell's logs no longer fill. Throws as `ingest`. */
  fill(cell: string, bytes: Uint8Array): Promise<FillAnswer>;
  /** Durable positions of what a node would send. */
  feeds(cell: string, wishes: Readonly<Record<string, FeedWish>>): Promise<FeedStates>;
  /**
   * Fields by which queries find documents of a cell's collections without looking at all of them, as
   * JSON pointers, as a node of the cell wants them; copies that are begun later have them too. What
   * other collections have stays. Made and dropped behind writes, after this resolves.
   */
  index(cell: string, paths: Readonly<Record<string, readonly string[]>>): Promise<void>;
  /** Without a cell: of a collection written here. Throws `collection-unknown`, `invalid-query`. */
  read(query: {
    collection: string;
    cell?: string;
    id: string;
  }): Promise<GlobalDocument | undefined>;
  /** Throws `collection-unknown`, `invalid-cursor`, `invalid-limit`. */
  list(query: GlobalListQuery): Promise<GlobalListPage>;
  collections(cell?: string): Promise<readonly GlobalCollectionStatus[]>;
  /** Throws `collection-of-cells` when cells have sent one of this name. */
  publish(publication: Publication): Promise<void>;
  publications(): Promise<readonly Publication[]>;
  /** To a published collection, all or none; resolves after the fsync. */
  write(writes: readonly DocumentWrite[], options?: GivenKey): Promise<PublishedAnswer>;
  /** The next piece of a log that a node lacks. Throws `hub-rolled-back`. */
  pull(query: PullQuery): Promise<Uint8Array | undefined>;
  /** After a commit that may give nodes something to pull. */
  on(event: "published", listener: () => void): () => void;
  close(): Promise<void>;
}

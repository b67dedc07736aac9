/**
 * A document's state as it crosses a link: what each field holds, and by whom and when it was written.
 * Origins are numbers, of the list that comes with the piece.
 */
import type { Json } from "../../lib/json.ts";

export type PackedStamp = readonly [hlc: number, origin: number, sequence: number];

/** By JSON pointer. */
type ByPath<T> = readonly (readonly [path: string, values: readonly T[]])[];

export type PackedState = {
  /** Edits, and deletions. */
  readonly e?: readonly PackedStamp[];
  readonly d?: readonly PackedStamp[];
  /** The highest version of the schema that a writer knew. */
  readonly v?: number;
  /** Registers. */
  readonly x?: ByPath<readonly [...PackedStamp, Json]>;
  /** Counts: origin, times, total, and what was cleared of both. */
  readonly c?: ByPath<readonly number[]>;
  /** Members of sets: origins and sequences in turn. */
  readonly m?: ByPath<readonly [Json, readonly number[]]>;
  /** Elements of lists: number, origin, sequence, and the value unless it was removed. */
  readonly l?: ByPath<readonly [number, number, number, ...Json[]]>;
  /** Texts: one update of Yjs each, in base64. */
  readonly t?: ByPath<string>;
};

export type SnapshotDocument = {
  readonly collection: string;
  readonly id: string;
  readonly state: PackedState;
};

/** How far an origin's log is in the documents, and what its last operation there says. */
export type Position = {
  readonly name: string;
  readonly applied: number;
  readonly hlc: number;
  readonly seen: Readonly<Record<string, number>>;
};

/** How far a reader came: by collection the last change, and the last key. */
export type SnapshotCursor = {
  readonly changes: Readonly<Record<string, number>>;
  readonly keys: number;
};

export type SnapshotPiece = {
  /** The store that it is of; a piece goes on only from another one of the same. */
  readonly view: string;
  /** Undefined: from the beginning. */
  readonly after?: SnapshotCursor;
  readonly next: SnapshotCursor;
  /** Of the numbers in the states. */
  readonly origins: readonly string[];
  readonly documents: readonly SnapshotDocument[];
  /** Of requests that were written, as `key` of operations. */
  readonly keys: readonly string[];
  /** Of the last piece. */
  readonly end?: readonly Position[];
};

/**
 * What a query walks over: the documents of a collection in a store of this node, those of many cells
 * at a hub, or those of a strong collection as of one revision of the ledger. A source finds candidates
 * and never decides what matches (Q1).
 */
import type { Subject } from "./evaluate.ts";
import type { KeyRange } from "./keys.ts";
import type { IdRange } from "./plan.ts";
import type { Index } from "./query.ts";

/** A candidate, before it is looked into; `bytes` of its body, for the pieces that a query works in. */
export type Found = { readonly bytes: number };

export type IdWalk = IdRange & {
  /** A place; what is behind it. */
  readonly after?: string;
  readonly descending: boolean;
};
export type KeyWalk = {
  readonly index: number;
  readonly range: KeyRange;
  readonly after?: { readonly id: string; readonly key?: Buffer };
  readonly descending: boolean;
  /** In the order of the keys, and of one key in that of places; else in any. */
  readonly ordered: boolean;
};

export interface QuerySource<F extends Found> {
  /** Whether `ids` walks in the order of ids, rather than of places. */
  readonly isById: boolean;
  /** Those that are whole. */
  indexes(): Index[];
  /** Entries in these ranges, counted up to `fewMax`. */
  count(index: Index, ranges: readonly KeyRange[]): number;
  ids(walk: IdWalk): Iterable<F>;
  keys(walk: KeyWalk): Iterable<F>;
  /** By its place. */
  found(place: string): F | undefined;
  /** What conditions are asked of, and rows are made of. */
  subjectOf(found: F): Subject;
  explain(walk: "ids" | "index", descending: boolean): string[];
}

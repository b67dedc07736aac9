/**
 * The contract of damaged segments: which there are, what this store can give another one for its own,
 * and putting one together again from what others gave (S3).
 */

/** Positions of an origin's log; both are inclusive. */
export type PositionRange = { readonly origin: string; readonly from: number; readonly to: number };

export type Damage = {
  /** Names it to `restore`. */
  readonly segment: number;
  readonly stream: string;
  readonly entries: number;
  /** Of the entries in it, whose positions lie in these ranges. */
  readonly ranges: readonly PositionRange[];
  readonly fromMs: number;
  readonly toMs: number;
  /** Names stream, times and positions. */
  readonly message: string;
};

export type CopyQuery = PositionRange & {
  readonly stream: string;
  /** Times of the entries that are wanted, inclusive: for a store that finds them by time. */
  readonly fromMs: number;
  readonly toMs: number;
};

export type RestoreAnswer =
  /** `entries`: 0 when it was whole again, or gone, before. */
  | { readonly state: "restored"; readonly entries: number }
  /** These are lacking in what was given. */
  | { readonly state: "lacking"; readonly ranges: readonly PositionRange[] }
  /** All is there, and it is not what was sealed: fields that do not leave are lacking at a hub. */
  | { readonly state: "unlike" }
  /** Where its entries stood is not known: sealed by an earlier version, or that is damaged as well. */
  | { readonly state: "no-plan" };

export interface SegmentRepairs {
  damage(): Promise<readonly Damage[]>;
  /** What this store has of that, as a batch that may have gaps. */
  copy(query: CopyQuery): Promise<Uint8Array>;
  /**
   * Puts a segment together from batches of `copy`, the first that has a position being right, and
   * commits it. With `exact` only what is byte for byte what was sealed: not all who gave keep entries
   * whole. Throws `invalid-batch`, `disk-full`.
   */
  restore(given: {
    readonly segment: number;
    readonly copies: readonly Uint8Array[];
    readonly exact: boolean;
  }): Promise<RestoreAnswer>;
  /** Nobody has it: until the store is closed the log is told without it, which readers of the stream are not. */
  giveUp(segment: number): Promise<void>;
  /** A segment was found damaged that was not known of. */
  on(event: "damaged", listener: (damage: Damage) => void): () => void;
}

/** Of one answer. A segment has a thousand entries and 256 KiB with the entry that reaches it, and never more than this. */
export const copiedMax = { entriesMax: 10_000, bytesMax: 4 * 1024 * 1024 };

/** What the entry checker is given and what it answers. */
import type { View } from "./view.ts";

export type EntryCheckConfig = {
  readonly acknowledgedPath: string;
  readonly stream: string;
  readonly views: readonly View[];
  /** Views may lag: read again until nothing is missing or this has passed. */
  readonly timeoutMs: number;
  /** A view where nothing is missing is read once more after this: what comes late may be a copy. */
  readonly settleMs?: number;
  /** Wall clock from which `completeAfterMs` counts; default: when the checker began. */
  readonly sinceWallMs?: number;
};

export type EntryCheckResult = {
  readonly acknowledged: number;
  readonly views: readonly {
    readonly name: string;
    readonly found: number;
    /** Acknowledged keys that the view does not hold. */
    readonly lost: number;
    /** Further copies of a key, acknowledged or not. */
    readonly duplicated: number;
    /** A few of each, for the reader. */
    readonly examples: readonly string[];
    /** Until nothing was missing; absent when something is, or nothing could be read. */
    readonly completeAfterMs?: number;
    readonly failure?: string;
  }[];
};

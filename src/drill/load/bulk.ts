/** What the bulk load writes and the drill reads. */
import type { NumbersWritten } from "../checkers/numbers.ts";

export type BulkLoadConfig = {
  readonly stream: string;
  readonly nodes: readonly {
    /** `http://127.0.0.11:7480` */
    readonly gateway: string;
    readonly token: string;
  }[];
  /** Requests under way at each node. */
  readonly inFlight: number;
  readonly entriesPerRequest: number;
  readonly timeoutMs: number;
};

export type BulkLoadResult = {
  readonly acknowledged: number;
  /** From 0, in the field `n` of each body; those in requests that failed are unknown. */
  readonly written: NumbersWritten;
  /** What the failed ones said, with their counts. */
  readonly failures: Readonly<Record<string, number>>;
};

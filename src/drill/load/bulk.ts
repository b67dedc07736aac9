/** What the bulk load writes and the drill reads. */
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
  /** In requests that failed: they may have been stored. */
  readonly unknown: number;
  /** What the failed ones said, with their counts. */
  readonly failures: Readonly<Record<string, number>>;
};

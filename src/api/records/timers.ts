/** What the cell API says of the timers of the ledger's members (`/skerry/v1/ledger-timers`). */

export type LedgerTimers = { readonly heartbeatMs: number; readonly electionMs: number };

export type LedgerTimersView = {
  /** With SQLite there is nothing to time. */
  readonly engine: "sqlite" | "etcd";
  /** What all members shall run with, and why; absent until somebody has decided. */
  readonly wanted?: LedgerTimers;
  readonly why?: string;
  readonly members: readonly LedgerTimersOfMember[];
};

export type LedgerTimersOfMember = {
  readonly name: string;
  /** What its process runs with; absent while that is not known. */
  readonly running?: LedgerTimers;
  /** An fsync beside its data when its agent started, milliseconds. */
  readonly probeP99Ms?: number;
  /** The last minutes of its process; absent when it has just begun. */
  readonly measured?: {
    readonly windowMs: number;
    readonly fsyncs: number;
    readonly fsyncP99Ms?: number;
    /** By the other member's name; "witness" for one that is no server. */
    readonly roundTripP99Ms: Readonly<Record<string, number>>;
    readonly leaderChanges: number;
    readonly lateHeartbeats: number;
    readonly slowApplies: number;
  };
};

/** What `skerry status` shows; assembled by any node, from what it knows and what its peers answer. */
import type { BackupReport } from "./backup.ts";
import type { Ladder, LadderRung, NodeVerdict, ReachRecord, ReachRow } from "./health.ts";

export type PodStatusLine = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly phase: string;
  readonly ready: boolean;
  readonly restarts: number;
  /** Process ids by container; only from the node that runs it. */
  readonly pids: Readonly<Record<string, number>>;
  /** Why it is not ready, in words; absent when it is. */
  readonly reason?: string;
};

export type StreamStatusLine = {
  readonly name: string;
  readonly entries: number;
  readonly bytes: number;
  /** What went before its time, since the store was made; absent when nothing did. */
  readonly dropped?: {
    /** By `whenFull: drop`. */
    readonly whenFull: number;
    /** Before the hub had it, by size or on a full disk. */
    readonly beforeHub: number;
  };
};

export type DamageLine = {
  readonly stream: string;
  readonly entries: number;
  /** Names stream, times and positions. */
  readonly message: string;
};

export type BacklogStatus = {
  /** Entries accepted here that the hub has not acknowledged and that may leave. */
  readonly entries: number;
  readonly bytes: number;
  /** Age of the oldest of them. */
  readonly oldestMs: number;
};

export type HubStatus = {
  readonly state: "connected" | "lost" | "none";
  readonly address?: string;
  /** Since the last answer. */
  readonly lastContactMs?: number;
  /** Why there is no link, as last seen; absent while there is one. */
  readonly failure?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly backlog: BacklogStatus;
  /** Something waits because the day's budget towards the hub is used up; the next day begins in so long. */
  readonly budgetUsedUpForMs?: number;
};

/** The ledger of a cell with more than one server, as one of them measures it. */
export type LedgerReport = {
  readonly quorum: "held" | "lost";
  /** Since a quorum last answered that server; absent: never. */
  readonly provedAgoMs?: number;
  readonly members: readonly {
    /** The node's, or a witness's own. */
    readonly name: string;
    readonly role: "server" | "learner" | "witness";
    readonly state: "leader" | "follower" | "silent";
    /** Since it last answered; absent: never. */
    readonly answeredAgoMs?: number;
  }[];
};

export type FailureLine = {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
};

/** What one node says of itself. */
export type NodeReport = {
  readonly node: string;
  readonly role: "server" | "worker";
  readonly version: string;
  readonly agentPid: number;
  readonly upMs: number;
  readonly ladder: Ladder;
  readonly rung: LadderRung;
  /** Desired state: live from a server, or the mirror's last known. */
  readonly desiredState: { readonly live: boolean; readonly ageMs: number };
  readonly hub: HubStatus;
  readonly streams: readonly StreamStatusLine[];
  /** Sealed entries that its disk lost and that were not fetched again; absent when there are none. */
  readonly damaged?: readonly DamageLine[];
  /** Nodes that told of more of this node's entries or documents than they could show; absent when there are none. */
  readonly doubted?: readonly string[];
  readonly pods: readonly PodStatusLine[];
  /** What this host is short of, in words: `disk: 120 MiB free`; empty or absent when there is enough. */
  readonly short?: readonly string[];
  /** Servers: the backups of their cell. */
  readonly backup?: BackupReport;
  /** Resident memory of the agent, bytes. */
  readonly memoryBytes: number;
  /** Only from servers that share the ledger with others. */
  readonly ledger?: LedgerReport;
  /** Of a server that shares the ledger: why its own member does not run; absent while it does. */
  readonly memberFailure?: FailureLine;
  /** Why this node acknowledges no entries until its agent is restarted; absent while it does. */
  readonly storeFailure?: FailureLine;
  /** Whom it heard itself; only in answers to peers. */
  readonly reach?: ReachRow;
};

export type CellStatus = {
  readonly cell: string;
  readonly seenFrom: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly role: "server" | "worker";
    readonly address: string;
    readonly verdict: NodeVerdict;
    /** Absent when the node did not answer. */
    readonly report?: NodeReport;
  }[];
  readonly workloads: readonly {
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly ready: number;
    readonly desired: number;
  }[];
  /** Pods as the API knows them, with pids where their node answered. */
  readonly pods: readonly PodStatusLine[];
  /** What it all means, most important first. */
  readonly words: readonly string[];
  /** Where several servers share the ledger: as that one sees it which reaches most of it. */
  readonly ledger?: LedgerReport & { readonly seenFrom: string };
  /** Who heard whom, by which path, and when. */
  readonly reach: ReachRecord;
  /** What the cell promises in this situation, and what it does not, as sentences. */
  readonly promises: { readonly kept: readonly string[]; readonly suspended: readonly string[] };
};

/** What the hub shows of its cells. */
export type FleetStatus = {
  readonly hub: string;
  /** Where it keeps the streams of cells. */
  readonly store?: { readonly engine: "sqlite" | "postgres"; readonly place: string };
  /** Why the key of the hub's authority, which a module holds, signs for no cell now; absent while it does. */
  readonly keyFailure?: { readonly why: string; readonly hint?: string; readonly forMs: number };
  /** Connections that this hub process refused, where somebody can mend it; absent when there are none. */
  readonly refused?: readonly {
    readonly reason: string;
    readonly count: number;
    /** Of the last one. */
    readonly why: string;
    readonly hint: string;
    readonly agoMs: number;
  }[];
  readonly cells: readonly {
    readonly cell: string;
    readonly enrolledAt: string;
    readonly state: "connected" | "silent" | "never";
    /** Since anything was heard of it. */
    readonly lastContactMs?: number;
    readonly nodesConnected: readonly string[];
    /** The worst rung any of its nodes told, and what it means. */
    readonly rung?: LadderRung;
    readonly words: readonly string[];
    /** What the cell's nodes said still waits for the hub. */
    readonly backlog: BacklogStatus;
    readonly streams: readonly StreamStatusLine[];
  }[];
};

/** What the cell API says of the cell's servers (`/skerry/v1/servers`), for the command line and the console. */

export type ServerLine = {
  readonly name: string;
  /** A witness only votes: it holds the ledger and runs no node. */
  readonly kind: "server" | "witness";
  readonly state: "leader" | "follower" | "learner" | "unreachable";
  /** HOST:PORT of its ledger; absent with SQLite, and before its first start. */
  readonly address?: string;
  /** Of a witness: its newest leaf, made for it by hand; due from half its life on. */
  readonly leaf?: { readonly notAfterMs: number; readonly isDue: boolean };
  /** Of etcd. */
  readonly version?: string;
  readonly bytes?: number;
};

export type ServersView = {
  readonly engine: "sqlite" | "etcd";
  readonly quorum: "held" | "lost";
  /** What this number of servers survives. */
  readonly words: string;
  readonly servers: readonly ServerLine[];
};

export type ServerVerb = "add" | "remove" | "replace" | "move-leader";

/** How far a change of the servers has come. */
export type ServerProgress = {
  readonly lines: readonly string[];
  /** Absent while it goes on. */
  readonly outcome?: {
    readonly state: "done" | "refused" | "failed";
    readonly message: string;
    readonly hint?: string;
  };
};

/** What membership concludes and the ladder shows; shared by membership, status, console and hub. */

export type NodeVerdict =
  | { readonly state: "alive" }
  /**
   * The machine is there, the agent is not: its keeper beats and says so, or (`knownBy`) only its
   * ledger member answers. Pods run on, nothing is replaced yet.
   */
  | { readonly state: "agent-down"; readonly forMs: number; readonly knownBy?: "ledger" }
  /**
   * Silent to the observer and to every reachable peer for `forMs`. `hub`: what the hub says, where it
   * was connected to the observer all the while: `hears` it (cut off from the cell, not dead), or
   * `misses` it too.
   */
  | {
      readonly state: "unreachable";
      readonly forMs: number;
      readonly witnesses: readonly string[];
      readonly hub?: "hears" | "misses";
    }
  /**
   * Silent to the observer, heard by `heardBy` (nodes, or `ledgerEar`): the link between the two is
   * what failed.
   */
  | { readonly state: "link-down"; readonly forMs: number; readonly heardBy: readonly string[] }
  /** Not heard of since the observer started. */
  | { readonly state: "unknown" };

/** Stands in `heardBy` when what answers is the node's ledger member. */
export const ledgerEar = "the ledger";

/**
 * The four measures of a node's situation (DESIGN "The degradation ladder"). `quorum`: `lost`, the
 * cell's servers are there and cannot agree; `no-server`, none of them answers this node.
 */
export type Ladder = {
  readonly hub: "connected" | "lost" | "none";
  readonly quorum: "held" | "no-server" | "lost";
  readonly peers: "all" | "some" | "alone";
  readonly resources: "enough" | "starved";
};

/** From best to worst. */
export const ladderRungs = [
  "whole",
  "hub-lost",
  "server-lost",
  "quorum-lost",
  "alone",
  "starved",
] as const;
export type LadderRung = (typeof ladderRungs)[number];

/**
 * How a sign of life came: the node's own `beat`, or frames on its `link`; `relayed` by a peer that
 * heard it; the `hub` heard it; its member of the `ledger` answered.
 */
export type ReachPath = "beat" | "link" | "relayed" | "hub" | "ledger";

export type ReachMark = {
  readonly from: string;
  readonly path: ReachPath;
  /** With `relayed`: the peer that heard it last. */
  readonly by?: string;
  readonly agoMs: number;
};

/** Whom `to` heard, as far as the observer knows. */
export type ReachRow = {
  readonly to: string;
  /** `beats` tell of nodes only; `self` is the hearer's own word, here or in its report. */
  readonly knownBy: "self" | "beats" | "hub";
  /** How old this word is: 0 for the observer's own. */
  readonly toldAgoMs: number;
  readonly heard: readonly ReachMark[];
};

/** `to` listens, `from` is up, and `to` does not hear `from`. */
export type DeafLink = {
  readonly from: string;
  readonly to: string;
  /** Undefined: never heard. */
  readonly forMs: number | undefined;
  /** Whether the other direction works; `unknown` where `from` told nobody lately. */
  readonly back: "heard" | "deaf" | "unknown";
};

/** The name of the hub in a reach record; no node may be called so. */
export const hubName = "@hub";

/** Who reached whom, by which path, and when: as one node knows it. */
export type ReachRecord = {
  readonly seenFrom: string;
  /** The cell's nodes; then `hubName` and witnesses, where there are. */
  readonly names: readonly string[];
  readonly rows: readonly ReachRow[];
  readonly deaf: readonly DeafLink[];
};

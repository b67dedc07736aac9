/** What membership concludes and the ladder shows; shared by membership, status, console and hub. */

export type NodeVerdict =
  | { readonly state: "alive" }
  /** The keeper beats, the agent does not: pods run on, nothing is replaced yet. */
  | { readonly state: "agent-down"; readonly forMs: number }
  /** Silent to the observer and to every reachable peer for `forMs`. */
  | { readonly state: "unreachable"; readonly forMs: number; readonly witnesses: readonly string[] }
  /** Silent to the observer, heard by `heardBy`: the link between the two is what failed. */
  | { readonly state: "link-down"; readonly forMs: number; readonly heardBy: readonly string[] }
  /** Not heard of since the observer started. */
  | { readonly state: "unknown" };

/** The four measures of a node's situation (DESIGN "The degradation ladder"). */
export type Ladder = {
  readonly hub: "connected" | "lost" | "none";
  readonly quorum: "held" | "lost";
  readonly peers: "all" | "some" | "alone";
  readonly resources: "enough" | "starved";
};

export type LadderRung = "whole" | "hub-lost" | "quorum-lost" | "alone" | "starved";

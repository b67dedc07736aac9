/** What membership needs of the rest of the node; bound in `agent/`. */
import type { Ladder } from "../api/index.ts";

/** Whom this node hears, for the keeper to put into its beats: node name to age in ms, now. */
export type HeardReport = Readonly<Record<string, number>>;

/**
 * What the other rooms measure at this moment, without any smoothing: the ladder adds hysteresis.
 * `hub`: is the hub's link up; `quorum`: can desired state be changed (a server asks its ledger, any
 * other node whether a server answered lately); `resources`: what the host's pressure and disk say.
 */
export type Situation = Pick<Ladder, "hub" | "quorum" | "resources">;

export type MembershipPorts = {
  /** Every node of the cell this node knows of (the mirror), itself included. Asked at every tick. */
  nodes(): readonly string[];
  /** Called at every tick; the keeper adds the time that passes until it beats. */
  setHeard(report: HeardReport): void;
  situation(): Situation;
};

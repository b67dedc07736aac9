/** What membership needs of the rest of the node; bound in `agent/`. */
import type { Ladder } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";

/** Whom this node hears, for the keeper to put into its beats: node name to age in ms, now. */
export type HeardReport = Readonly<Record<string, number>>;

/**
 * What the other rooms measure at this moment, without any smoothing: the ladder adds hysteresis.
 * `hub`: is the hub's link up; `quorum`: can desired state be changed (a server asks its ledger, any
 * other node whether a server answered lately); `resources`: what the host's pressure and disk say.
 */
export type Situation = Pick<Ladder, "hub" | "quorum" | "resources">;

export type LedgerMember = {
  /** The node's, or a witness's own. */
  readonly name: string;
  /** False for a learner. */
  readonly votes: boolean;
  readonly leads: boolean;
  /** When it last answered this node; undefined: never. */
  readonly answeredMs: MonotonicMs | undefined;
};

/**
 * The ledger as this node knows it. `sole`: one server has it, or this node has no part in it. Else
 * `quorum` is what was measured last, and `provedMs` when the last question was *sent* that a quorum
 * has answered (a linearizable read, a write).
 */
export type LedgerSituation =
  | { readonly state: "sole" }
  | {
      readonly state: "shared";
      readonly quorum: "held" | "lost";
      readonly provedMs: MonotonicMs | undefined;
      readonly members: readonly LedgerMember[];
    };

export type MembershipPorts = {
  /** Every node of the cell this node knows of (the mirror), itself included. Asked at every tick. */
  nodes(): readonly string[];
  /** Called at every tick; the keeper adds the time that passes until it beats. */
  setHeard(report: HeardReport): void;
  situation(): Situation;
  /** When frames last came over the link with each node that has one. */
  links(): ReadonlyMap<string, MonotonicMs>;
  ledger(): LedgerSituation;
};

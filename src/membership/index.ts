export {
  createMembership,
  type Membership,
  type MembershipEvents,
  type MembershipOptions,
  type ReachMatrix,
} from "./membership.ts";
export type { HeardReport, MembershipPorts, Situation } from "./ports.ts";
export {
  createEvidence,
  type BeatOutcome,
  type Evidence,
  type EvidenceBook,
  type HubEvidence,
  type NodeEvidence,
} from "./evidence.ts";
export {
  judge,
  toleranceOf,
  verdictDefaults,
  type Tolerance,
  type VerdictOptions,
} from "./verdict.ts";
export {
  evictionDefaults,
  mayEvict,
  type EvictionDecision,
  type EvictionOptions,
} from "./eviction.ts";
export {
  climb,
  ladderDefaults,
  ladderOf,
  measureMeanings,
  measurePeers,
  rungMeanings,
  rungOf,
  tellLadder,
  type LadderOptions,
  type LadderState,
  type LadderStory,
  type RungMeaning,
} from "./ladder.ts";

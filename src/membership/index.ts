export {
  createMembership,
  type Membership,
  type MembershipEvents,
  type MembershipOptions,
} from "./membership.ts";
export type {
  HeardReport,
  LedgerMember,
  LedgerSituation,
  MembershipPorts,
  Situation,
} from "./ports.ts";
export { reachOf, withRows } from "./reach.ts";
export {
  createEvidence,
  type BeatOutcome,
  type Evidence,
  type EvidenceBook,
  type HubEvidence,
  type NodeEvidence,
} from "./evidence.ts";
export {
  dueInMs,
  hubWordOn,
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
  type EvictionView,
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

export { apiVersionOf, type Column, type FieldIssue, type KindDefinition } from "./kind.ts";
export type { KubeObject, ObjectKey, ObjectMeta, OwnerReference } from "./records/object.ts";
export {
  formatDurabilityLevel,
  parseDurabilityLevel,
  type AppendOutcome,
  type DurabilityLevel,
  type EntryInput,
  type EntryKey,
  type EntryPosition,
  type StoredEntry,
} from "./records/entry.ts";
export {
  beatBytesMax,
  decodeBeat,
  encodeBeat,
  splitBeat,
  type Beat,
  type BeatParts,
} from "./records/beat.ts";
export type { EgressPolicy } from "./records/egress.ts";
export type { Ladder, LadderRung, NodeVerdict } from "./records/health.ts";

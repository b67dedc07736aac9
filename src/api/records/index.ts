/** The records without the kinds: a door for who must stay small (the keeper loads no schema library). */
export {
  beatBytesMax,
  decodeBeat,
  encodeBeat,
  splitBeat,
  type Beat,
  type BeatParts,
} from "./beat.ts";
export { entryLimits, type EntryInput } from "./entry.ts";
export { columnsOf, entriesOf, pick, withBodies, type EntryColumns } from "./entry-columns.ts";
export type { FieldChange, TextAttributes, TextDelta } from "./document.ts";
export {
  coverRuns,
  knownChanges,
  type Change,
  type ElementId,
  type ObservedCounts,
  type Operation,
  type Write,
} from "./operation.ts";
export type {
  PackedStamp,
  PackedState,
  Position,
  SnapshotCursor,
  SnapshotDocument,
  SnapshotPiece,
} from "./snapshot.ts";
export type { EgressPolicy } from "./egress.ts";
export { parsePath, pointerOf, valueAtPath, type Path } from "./path.ts";
export type {
  EntriesRequest,
  GroupsRequest,
  QueryAnswer,
  QueryCondition,
  QueryDifference,
  QueryExplained,
  QueryGroup,
  QueryRow,
  QueryWhere,
  RowsRequest,
  WindowsRequest,
} from "./query.ts";

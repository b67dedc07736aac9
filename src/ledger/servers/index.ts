export {
  createServersBook,
  serversPrefix,
  type Progress,
  type ServersBook,
  type Wish,
} from "./book.ts";
export { startPerformer, type Performer } from "./performer.ts";
export {
  planChange,
  type Change,
  type MembershipView,
  type MemberView,
  type Plan,
  type ServerReport,
  type Step,
} from "./plan.ts";
export { namesInWords, numberWord, quorumOf, survivalNow, survivalOf } from "./quorum.ts";
export {
  ledgerFolder,
  ledgerRecordPath,
  readLedgerRecord,
  removeLedgerRecord,
  writeLedgerRecord,
  type LedgerRecord,
} from "./record.ts";
export {
  createWitnessBook,
  witnessLeafIsDue,
  type WitnessBook,
  type WitnessEntry,
} from "./witnesses.ts";
export { nodesOf, runChange, type Outcome, type ServersPort } from "./run.ts";

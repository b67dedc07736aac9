export type {
  Campaign,
  CampaignOptions,
  Condition,
  Epoch,
  Fence,
  KeyValue,
  LeaseId,
  Ledger,
  LedgerErrorCode,
  LedgerEvent,
  LedgerStatus,
  Operation,
  PresumedDead,
  ReadOptions,
  Revision,
  TransactionOutcome,
  WatchBatch,
} from "./ledger.ts";
export { createCampaigns, electionsPrefix } from "./campaign.ts";
export {
  historyJump,
  inspectSqliteLedger,
  isStateKey,
  openSqliteLedger,
  readSqliteLedger,
  restoreSqliteLedger,
  type Retention,
  type SqliteLedgerOptions,
  type SqliteRestore,
} from "./sqlite/index.ts";
export {
  convertLedger,
  createSwitchingLedger,
  type Conversion,
  type SwitchingLedger,
} from "./switching/index.ts";
export {
  connectLedger,
  serveLedger,
  type LedgerEmit,
  type LedgerMethods,
  type LedgerThread,
  type LedgerThreadEvents,
} from "./thread/index.ts";

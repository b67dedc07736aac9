export type {
  Campaign,
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
  ReadOptions,
  Revision,
  TransactionOutcome,
  WatchBatch,
} from "./ledger.ts";
export { createCampaigns, electionsPrefix, type CampaignOptions } from "./campaign.ts";
export { openSqliteLedger, type Retention, type SqliteLedgerOptions } from "./sqlite/index.ts";
export {
  connectLedger,
  serveLedger,
  type LedgerEmit,
  type LedgerMethods,
  type LedgerThread,
  type LedgerThreadEvents,
} from "./thread/index.ts";

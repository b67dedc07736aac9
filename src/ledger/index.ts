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
  openEtcdCluster,
  openEtcdLedger,
  type EtcdCluster,
  type EtcdConnectOptions,
  type EtcdCredentials,
  type EtcdEndpoint,
  type EtcdLedger,
  type EtcdMember,
} from "./etcd/index.ts";
export {
  defaultTimers,
  etcdCommand,
  etcdUrl,
  type EtcdMemberOptions,
  type EtcdTimers,
} from "./etcd/process/flags.ts";
export { detectEtcd, versionText } from "./etcd/process/version.ts";
export {
  createServersBook,
  ledgerFolder,
  nodesOf,
  planChange,
  quorumOf,
  readLedgerRecord,
  removeLedgerRecord,
  startPerformer,
  survivalOf,
  writeLedgerRecord,
  type Change,
  type LedgerRecord,
  type MembershipView,
  type Performer,
  type ServerReport,
  type ServersBook,
  type ServersPort,
  type Step,
} from "./servers/index.ts";
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

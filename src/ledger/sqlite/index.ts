export { openSqliteLedger, type SqliteLedgerOptions } from "./ledger.ts";
export type { Retention } from "./compaction.ts";
export {
  inspectSqliteLedger,
  isStateKey,
  readSqliteLedger,
  restoreSqliteLedger,
  type SqliteRestore,
} from "./restore.ts";

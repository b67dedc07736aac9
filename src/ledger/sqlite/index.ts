export { openSqliteLedger, type SqliteLedgerOptions } from "./ledger.ts";
export type { Retention } from "./compaction.ts";
export {
  historyJump,
  inspectSqliteLedger,
  isStateKey,
  readSqliteLedger,
  restoreSqliteLedger,
  type SqliteRestore,
} from "./restore.ts";

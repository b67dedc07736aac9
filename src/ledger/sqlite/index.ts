export { openSqliteLedger, type SqliteLedgerOptions } from "./ledger.ts";
export type { Retention } from "./compaction.ts";
export { writeSnapshotFile } from "./snapshot.ts";
export {
  copyToSqlite,
  inspectSqliteLedger,
  isStateKey,
  readSqliteLedger,
  restoreSqliteLedger,
  type SqliteRestore,
} from "./restore.ts";

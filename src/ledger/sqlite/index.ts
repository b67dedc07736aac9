export { openSqliteLedger, type SqliteLedgerOptions } from "./ledger.ts";
export type { Retention } from "./compaction.ts";

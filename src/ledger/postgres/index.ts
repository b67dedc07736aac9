export { openPostgresLedger, type PostgresLedgerOptions } from "./ledger.ts";

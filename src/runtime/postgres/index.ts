/**
 * PostgreSQL as the hub uses it: bounded connections to the server that writes, none to one that could
 * lose what it acknowledged, failures in the words of a store, COPY, versioned tables. The only
 * importer of `pg`.
 */
export {
  hasPassword,
  parsePostgresUrl,
  placeOf,
  withoutPassword,
  type PostgresAddress,
} from "./address.ts";
export type { Session } from "./connect.ts";
export type { Row } from "./driver.ts";
export { isDataFault, isLockTimeout, isTransient, postgresFailure } from "./failures.ts";
export { layoutLock, preparePostgresLayout, type LayoutStep } from "./layout.ts";
export { openSyncPostgres, type SyncPostgres, type SyncStatement } from "./sync.ts";
export { openPostgres, type Postgres, type PostgresOptions } from "./pool.ts";

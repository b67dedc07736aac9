/**
 * SQLite as Skerry uses it: WAL, an explicit `synchronous`, one writer with group commit. The only
 * importer of `node:sqlite`. A writer acknowledges a piece of work only after the transaction that
 * holds it was committed, which with `full` means after its fsync.
 */
export { openBallast, withBallast, type Ballast } from "./ballast.ts";
export { sqliteFailure } from "./failures.ts";
export { createRelief, logPagesWith, type Relief } from "./full-disk.ts";
export { createGroupCommit, type GroupCommitOptions, type Writer } from "./group-commit.ts";
export { prepareLayout } from "./layout.ts";
export {
  closingOnFailure,
  databaseFiles,
  openDatabase,
  openMemory,
  sqliteActions,
  setAside,
  type Database,
  type OpenOptions,
  type SqlDatabase,
  type SqlStatement,
  type Statement,
} from "./open.ts";

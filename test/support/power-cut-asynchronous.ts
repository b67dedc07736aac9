/** Preloaded into a writer by the proof that the power-cut harness notices: SQLite without its fsyncs. */
import { DatabaseSync } from "node:sqlite";

const exec = DatabaseSync.prototype.exec;
DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
  return exec.call(this, sql.replace(/^PRAGMA synchronous = .*/, "PRAGMA synchronous = OFF"));
};

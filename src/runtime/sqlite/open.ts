/** Opening a database file, and which files it consists of. The only importer of `node:sqlite`. */
import { constants, DatabaseSync, type StatementSync } from "node:sqlite";
import { closeSync, existsSync, openSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { ensureDirectory, syncDirectory } from "../files/index.ts";
import { damaged, folderFailure, openFailure, sqliteFailure } from "./failures.ts";

export type Database = DatabaseSync;
export type Statement = StatementSync;

/** What tables need of a database that SQLite is not the only one to have. */
export type SqlStatement = {
  get(...values: SqlValue[]): Record<string, unknown> | undefined;
  all(...values: SqlValue[]): Record<string, unknown>[];
  iterate(...values: SqlValue[]): Iterable<Record<string, unknown>>;
  run(...values: SqlValue[]): unknown;
};
export type SqlDatabase = { prepare(sql: string): SqlStatement; exec(sql: string): void };
type SqlValue = string | number | null | Uint8Array;

export type OpenOptions = {
  /** `full`: durable at every commit. `off` exists for the proof that the power-cut harness works. */
  readonly synchronous?: "full" | "normal" | "off";
  readonly readOnly?: boolean;
  /**
   * Checked once at open; a damaged file throws `store-damaged`. Default for writers: while it is at most
   * 64 MiB. The check reads all of it, and a node whose power is back must not read for minutes before
   * it takes the first entry; damage of a larger one is found by whoever reads the damaged page.
   */
  readonly check?: boolean;
  /** Left out of that check: who reads these finds what is damaged, and can do without. */
  readonly uncheckedTables?: readonly string[];
  /**
   * How many pages the log takes before they are moved to the file, by whichever commit fills it: a
   * longer log is moved more seldom, and what was rewritten meanwhile once. Default 1000 (4 MiB).
   */
  readonly logPages?: number;
  /** The file itself never grows past this: what would make it is refused with `disk-full`. */
  readonly fileBytesMax?: number | undefined;
};

/** What an authorizer is asked, and may answer (sqlite.org/c3ref/c_alter_table.html). */
export const sqliteActions = {
  allow: constants.SQLITE_OK,
  deny: constants.SQLITE_DENY,
  select: constants.SQLITE_SELECT,
  recursive: constants.SQLITE_RECURSIVE,
  read: constants.SQLITE_READ,
  function: constants.SQLITE_FUNCTION,
} as const;

/** A database that is gone with the process, or when it is closed. */
export const openMemory = (): Database => new DatabaseSync(":memory:");

/** How long a connection waits for a lock that another holds. */
export const busyTimeoutMs = 5000;
const checkedBytesMax = 64 * 1024 * 1024;

/** Opens (and creates) a database file. Throws `store-damaged`, `disk-full` or `store-unavailable`. */
export function openDatabase(path: string, options: OpenOptions = {}): Database {
  const readOnly = options.readOnly ?? false;
  let db: Database | undefined;
  try {
    if (!readOnly) {
      ensureDirectory(dirname(path));
      // The folder may have been made by somebody else; SQLite gives its other files the same mode.
      closeSync(openSync(path, "a", 0o600));
    }
    db = new DatabaseSync(path, { readOnly, timeout: busyTimeoutMs });
    if (!readOnly) {
      db.exec("PRAGMA journal_mode = WAL");
      db.exec(`PRAGMA synchronous = ${options.synchronous ?? "full"}`);
      db.exec(`PRAGMA wal_autocheckpoint = ${options.logPages ?? 1000}`);
      db.exec("PRAGMA journal_size_limit = 16777216");
    }
    db.exec("PRAGMA foreign_keys = ON");
    if (options.fileBytesMax !== undefined) {
      const pageBytes = Number(db.prepare("PRAGMA page_size").get()?.["page_size"] ?? 4096);
      db.exec(`PRAGMA max_page_count = ${Math.floor(options.fileBytesMax / pageBytes)}`);
    }
    if (options.check ?? (!readOnly && statSync(path).size <= checkedBytesMax))
      check(db, path, options.uncheckedTables);
    return db;
  } catch (error) {
    db?.close();
    throw folderFailure(openFailure(error, path), path);
  }
}

/** What `prepare` makes of a database that was opened; when it throws, the database is closed. */
export function closingOnFailure<T>(
  { db, path }: { db: Database; path: string },
  prepare: () => T,
): T {
  try {
    return prepare();
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
}

/** Throws `store-damaged`. */
function check(db: Database, path: string, unchecked: readonly string[] | undefined): void {
  const tables = unchecked
    ? db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .all()
        .map(({ name }) => String(name))
        .filter((name) => !unchecked.includes(name))
    : ["1"];
  for (const argument of tables) {
    const row = db.prepare(`PRAGMA quick_check(${argument})`).get() as
      | { quick_check?: string }
      | undefined;
    if (row?.quick_check !== "ok")
      throw damaged(path, new Error(row?.quick_check ?? "quick_check gave no answer"));
  }
}

/**
 * The files that a database at `path` may consist of, itself first: SQLite keeps its log (`-wal`) and
 * its readers' marks (`-shm`) beside it (sqlite.org/tempfiles.html). Who moves or removes a database
 * moves or removes them all; the log may hold what was committed last.
 */
export const databaseFiles = (path: string): readonly string[] => [
  path,
  logFile(path),
  `${path}-shm`,
];
export const logFile = (path: string): string => `${path}-wal`;

/** Renames a closed database's files by adding `ending` to each; what had such a name before is replaced. */
export function setAside(path: string, ending: string): void {
  for (const file of databaseFiles(path))
    if (existsSync(file)) renameSync(file, `${file}${ending}`);
  syncDirectory(dirname(path));
}

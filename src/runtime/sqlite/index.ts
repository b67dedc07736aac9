/**
 * SQLite as Skerry uses it: WAL, an explicit `synchronous`, one writer with group commit. The only
 * importer of `node:sqlite`. A writer acknowledges a piece of work only after the transaction that
 * holds it was committed, which with `full` means after its fsync.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { closeSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { ensureDirectory } from "../files/index.ts";

export type Database = DatabaseSync;
export type Statement = StatementSync;

export type OpenOptions = {
  /** `full`: durable at every commit. `off` exists for the proof that the power-cut harness works. */
  readonly synchronous?: "full" | "normal" | "off";
  readonly readOnly?: boolean;
  /** Checked once at open; a damaged file throws `store-damaged`. Default true for writers. */
  readonly check?: boolean;
};

/** SQLite's primary result codes (sqlite.org/rescode.html); extended codes carry them in the low byte. */
const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

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
    db = new DatabaseSync(path, { readOnly, timeout: 5000 });
    if (!readOnly) {
      db.exec("PRAGMA journal_mode = WAL");
      db.exec(`PRAGMA synchronous = ${options.synchronous ?? "full"}`);
      db.exec("PRAGMA wal_autocheckpoint = 1000");
      db.exec("PRAGMA journal_size_limit = 16777216");
    }
    db.exec("PRAGMA foreign_keys = ON");
    if (options.check ?? !readOnly) {
      const row = db.prepare("PRAGMA quick_check(1)").get() as { quick_check?: string } | undefined;
      if (row?.quick_check !== "ok")
        throw damaged(path, new Error(row?.quick_check ?? "quick_check gave no answer"));
    }
    return db;
  } catch (error) {
    db?.close();
    throw folderFailure(sqliteFailure(error, path), path);
  }
}

/** What making the folder or the file throws, in the words of a store. */
function folderFailure(error: unknown, path: string): unknown {
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return diskFull(path, error);
    case "EEXIST":
    case "EISDIR":
    case "ENOTDIR":
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return cannotOpen(path, error);
    default:
      return error;
  }
}

/** Translates what SQLite throws; anything else comes back unchanged. */
export function sqliteFailure(error: unknown, path: string): unknown {
  if (error instanceof SkerryError || !(error instanceof Error) || !("errcode" in error))
    return error;
  switch (Number(error.errcode) & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(path, error);
    case SQLITE_FULL:
      return diskFull(path, error);
    case SQLITE_IOERR:
      return storageFailed(path, error);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return new SkerryError({
        code: "store-locked",
        message: `another process holds ${path}`,
        hint: "is a second agent running on this data folder? Stop one of them",
        retryable: true,
        cause: error,
      });
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return cannotOpen(path, error);
    default:
      return error;
  }
}

const diskFull = (path: string, cause: unknown) =>
  new SkerryError({
    code: "disk-full",
    message: `no space left for ${path}`,
    hint: "free space on this disk; what was acknowledged is safe, the refused write changed nothing",
    retryable: true,
    cause,
  });

const storageFailed = (path: string, cause: unknown) =>
  new SkerryError({
    code: "storage-failed",
    message: `the disk failed under ${path}`,
    hint: "check the disk (dmesg, smartctl); nothing more is acknowledged until the agent is restarted",
    cause,
  });

const cannotOpen = (path: string, cause: unknown) =>
  new SkerryError({
    code: "store-unavailable",
    message: `cannot open ${path}`,
    hint: "check that the folder exists and belongs to the user Skerry runs as",
    cause,
  });

function damaged(path: string, cause: Error): SkerryError {
  return new SkerryError({
    code: "store-damaged",
    message: `${path} is damaged`,
    hint: "move the file (with its -wal and -shm) away; other nodes and the hub hold copies of what they acknowledged",
    cause,
  });
}

export interface Writer {
  /**
   * Runs `work` inside the next transaction and resolves with its result once that is committed.
   * When `work` throws, only its own changes are undone. Rejects with `store-busy` when too much
   * waits, and for ever with `storage-failed` after a failed fsync.
   */
  write<T>(work: () => T): Promise<T>;
  /** Commits what waits, then closes the database. */
  close(): Promise<void>;
  /** Pieces of work that wait for their commit. */
  readonly waiting: number;
}

export type GroupCommitOptions = {
  readonly path: string;
  /** Pieces in one transaction; bounds the time that a commit blocks the thread. Default 1024. */
  readonly worksMax?: number;
  /** Pieces that may wait; more are rejected with `store-busy`. Default 16384. */
  readonly waitingMax?: number;
  /** Called after each commit with the pieces it held. */
  readonly onCommit?: (works: number) => void;
  /** Called after changes were undone and before any other piece runs: forget what was cached of them. */
  readonly onRollback?: () => void;
  /**
   * Every piece may run twice, what it changed outside the database being forgotten by `onRollback`.
   * Then a group runs without savepoints, which cost a third of the throughput, and once more with
   * them only when a piece of it throws. Default false.
   */
  readonly rerunnable?: boolean;
};

type Waiting = {
  work: () => unknown;
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
};

type Done = { readonly waiting: Waiting; readonly value: unknown };

export function createGroupCommit(db: Database, options: GroupCommitOptions): Writer {
  const worksMax = options.worksMax ?? 1024;
  const waitingMax = options.waitingMax ?? 16_384;
  let waiting: Waiting[] = [];
  let scheduled = false;
  let failed: SkerryError | undefined;
  let closing: Promise<void> | undefined;

  const schedule = () => {
    if (scheduled) return;
    scheduled = true;
    // After the poll phase: everything that arrived while the last commit blocked is in this one.
    setImmediate(flush);
  };

  const flush = () => {
    scheduled = false;
    const group = waiting.slice(0, worksMax);
    waiting = waiting.slice(worksMax);
    if (waiting.length > 0) schedule();
    if (failed) for (const item of group) item.reject(failed);
    else if (group.length > 0) commit(group);
  };

  const run = (item: Waiting): Done => {
    const value = item.work();
    if (value instanceof Promise) {
      // What it does after its first await would stand outside the transaction.
      value.catch(() => {});
      throw new SkerryError({ code: "internal", message: "a write must not be asynchronous" });
    }
    return { waiting: item, value };
  };

  const runApart = (group: Waiting[], done: Done[]) => {
    for (const item of group) {
      db.exec("SAVEPOINT work");
      try {
        done.push(run(item));
      } catch (error) {
        // SQLITE_FULL and SQLITE_IOERR may have rolled back the whole transaction already.
        if (!db.isTransaction) throw error;
        db.exec("ROLLBACK TO work");
        options.onRollback?.();
        item.reject(sqliteFailure(error, options.path));
      }
      db.exec("RELEASE work");
    }
  };

  /** False when a piece threw: everything is undone, and nobody has been answered. */
  const runTogether = (group: Waiting[], done: Done[]): boolean => {
    try {
      for (const item of group) done.push(run(item));
      return true;
    } catch (error) {
      const failure = sqliteFailure(error, options.path);
      if (failure instanceof SkerryError && failure.code === "storage-failed") throw error;
      // Which piece it was shows when they run again one by one.
      done.length = 0;
      if (db.isTransaction) db.exec("ROLLBACK");
      options.onRollback?.();
      db.exec("BEGIN IMMEDIATE");
      return false;
    }
  };

  /** What went wrong with that; a transaction that cannot be ended leaves nothing to go on with. */
  const rollBack = (): unknown => {
    try {
      if (db.isTransaction) db.exec("ROLLBACK");
      return undefined;
    } catch (error) {
      failed = storageFailed(options.path, error);
      return failed;
    }
  };

  const commit = (group: Waiting[]) => {
    const done: Done[] = [];
    try {
      db.exec("BEGIN IMMEDIATE");
      if (!options.rerunnable || !runTogether(group, done)) runApart(group, done);
      db.exec("COMMIT");
    } catch (error) {
      const failure = sqliteFailure(rollBack() ?? error, options.path);
      options.onRollback?.();
      // After a failed fsync the kernel may have dropped the dirty pages: a second try that
      // succeeds proves nothing (LWN "PostgreSQL's fsync() surprise", 2018).
      if (failure instanceof SkerryError && failure.code === "storage-failed") failed = failure;
      for (const item of group) item.reject(failure);
      return;
    }
    for (const { waiting: item, value } of done) item.resolve(value as never);
    options.onCommit?.(done.length);
  };

  return {
    write<T>(work: () => T): Promise<T> {
      if (failed) return Promise.reject(failed);
      if (closing) {
        return Promise.reject(
          new SkerryError({ code: "closed", message: `${options.path} is closed` }),
        );
      }
      if (waiting.length >= waitingMax) {
        return Promise.reject(
          new SkerryError({
            code: "store-busy",
            message: `${waiting.length} writes wait for the disk under ${options.path}`,
            hint: "slow down and send again; nothing was written",
            retryable: true,
          }),
        );
      }
      return new Promise<T>((resolve, reject) => {
        waiting.push({ work, resolve, reject });
        schedule();
      });
    },
    close() {
      closing ??= (async () => {
        while (waiting.length > 0) flush();
        db.close();
      })();
      return closing;
    },
    get waiting() {
      return waiting.length;
    },
  };
}

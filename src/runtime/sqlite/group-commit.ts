/**
 * One writer with group commit: what arrives while a transaction is made durable is in the next one. A
 * piece of work is acknowledged only after the commit that holds it.
 */
import { SkerryError } from "../../lib/errors.ts";
import { sqliteFailure, storageFailed } from "./failures.ts";
import { createLogBound } from "./long-log.ts";
import type { Database } from "./open.ts";

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
  /** Why nothing more is committed, ever. */
  readonly failure: SkerryError | undefined;
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
  /** Past this the log is cut short, at the price of a bounded wait for readers. Default 64 MiB. */
  readonly logBytesMax?: number;
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
  const { path, logBytesMax } = options;
  const boundLog = createLogBound(db, {
    path,
    ...(logBytesMax === undefined ? {} : { bytesMax: logBytesMax }),
  });
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
    cutLog();
  };

  /** What was acknowledged is safe in the log, however long that stays. */
  const cutLog = () => {
    try {
      boundLog();
    } catch (error) {
      const failure = sqliteFailure(error, path);
      if (failure instanceof SkerryError && failure.code === "storage-failed") failed = failure;
      // On a full disk the file cannot take what the log has; when there is room again it does.
      else if (!(failure instanceof SkerryError) || failure.code !== "disk-full") throw failure;
    }
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
    get failure() {
      return failed;
    },
  };
}

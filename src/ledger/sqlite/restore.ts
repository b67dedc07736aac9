/**
 * A ledger's file made from the keys of a backup, and read back from one that nobody has open. The
 * restored history is another one: a new epoch, and revisions that go on far beyond those of the
 * backup, so that whatever was written after it is never mistaken for what is written from now on.
 */
import { existsSync, rmSync } from "node:fs";
import { SkerryError } from "../../lib/errors.ts";
import { generationOf, historyJump } from "../../lib/history.ts";
import type { Random } from "../../lib/random.ts";
import {
  databaseFiles,
  openDatabase,
  sqliteFailure,
  type Database,
} from "../../runtime/sqlite/index.ts";
import { electionsPrefix } from "../campaign.ts";
import type { Epoch, KeyValue, Revision } from "../ledger.ts";
import { openFile } from "./schema.ts";
import { createStore } from "./store.ts";

/** A lease that was restored begins anew with this, long enough for its holder to renew it. */
const restoredTtlMs = 60_000;
const pageKeys = 500;

/**
 * False for the keys of engines, elections and the membership of servers: they speak of processes
 * and machines that a restored ledger no longer has, and are no state of the cell.
 */
export const isStateKey = (key: string) =>
  !["meta/", "servers/", electionsPrefix].some((prefix) => key.startsWith(prefix));

export interface SqliteRestore {
  /** Keys as they were, in any order, each once. Throws `disk-full`, `storage-failed`. */
  add(records: readonly KeyValue[]): void;
  /** Makes it durable and closes it. */
  finish(): { epoch: Epoch; revision: Revision };
  /** Closes it and takes the file away. */
  abandon(): void;
}

/**
 * Begins a new file at `path`; `revision` is the one that was backed up, and the new history is of the
 * generation after `generationBefore` and its own. Throws `file-exists`,
 * `disk-full` or `store-unavailable`. Blocks the thread that calls it.
 */
export function restoreSqliteLedger(
  deps: { random: Random },
  options: { path: string; revision: Revision; generationBefore?: number },
): SqliteRestore {
  const { path } = options;
  if (existsSync(path)) {
    throw new SkerryError({
      code: "file-exists",
      message: `${path} exists already`,
      hint: "give the path of a new file; nothing was overwritten",
    });
  }
  const before = Math.max(generationOf(options.revision), options.generationBefore ?? 0);
  const revision = (options.revision +
    (before + 1 - generationOf(options.revision)) * historyJump) as Revision;
  const { db, epoch } = openFile(deps, { path });
  return filling(db, { path, epoch, revision });
}

/** As `restoreSqliteLedger`, but the same history: of `epoch`, at `revision`. */
export function copyToSqlite(
  deps: { random: Random },
  { path, epoch, revision }: { path: string; epoch: Epoch; revision: Revision },
): SqliteRestore {
  const { db } = openFile(deps, { path });
  db.prepare("UPDATE state SET epoch = ?").run(epoch);
  return filling(db, { path, epoch, revision });
}

function filling(
  db: Database,
  { path, epoch, revision }: { path: string; epoch: Epoch; revision: Revision },
): SqliteRestore {
  const insertKey = db.prepare(
    `INSERT INTO history (revision, key, value, create_revision, version, lease, superseded)
     VALUES (?, ?, ?, ?, ?, ?, NULL)`,
  );
  const insertLease = db.prepare("INSERT OR IGNORE INTO leases VALUES (?, ?)");
  db.exec("BEGIN IMMEDIATE");
  return {
    add(records) {
      try {
        for (const { key, value, createRevision, modRevision, version, lease } of records) {
          insertKey.run(modRevision, key, value, createRevision, version, lease ?? null);
          if (lease !== undefined) insertLease.run(lease, restoredTtlMs);
        }
      } catch (error) {
        throw sqliteFailure(error, path);
      }
    },
    finish() {
      try {
        db.prepare("UPDATE state SET revision = ?, compacted = ?").run(revision, revision);
        db.exec("COMMIT");
        // One file: whoever moves it need not think of a log beside it.
        db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        return { epoch, revision };
      } catch (error) {
        throw sqliteFailure(error, path);
      } finally {
        db.close();
      }
    },
    abandon() {
      db.close();
      for (const file of databaseFiles(path)) rmSync(file, { force: true });
    },
  };
}

/**
 * Where a ledger's file stands, undefined when there is none; nothing is changed. Throws
 * `store-damaged`, `store-unavailable`.
 */
export function inspectSqliteLedger(
  path: string,
): { epoch: Epoch; revision: Revision; keys: number } | undefined {
  if (!existsSync(path)) return undefined;
  const db = openDatabase(path, { readOnly: true });
  try {
    const state = db.prepare("SELECT epoch, revision FROM state").get();
    const keys = db.prepare("SELECT count(*) AS keys FROM history WHERE superseded IS NULL").get();
    return {
      epoch: String(state?.["epoch"]) as Epoch,
      revision: Number(state?.["revision"]) as Revision,
      keys: Number(keys?.["keys"]),
    };
  } catch (error) {
    throw sqliteFailure(error, path);
  } finally {
    db.close();
  }
}

/** Its current keys in order, page by page. Throws `store-damaged`, `store-unavailable`. */
export function* readSqliteLedger(path: string): Generator<readonly KeyValue[]> {
  const db = openDatabase(path, { readOnly: true });
  try {
    const store = createStore(db);
    for (let from = ""; ;) {
      const page = store.listCurrent({ from, prefix: "", limit: pageKeys });
      if (page.length > 0) yield page;
      const last = page.at(-1);
      if (!last || page.length < pageKeys) return;
      from = last.key;
    }
  } catch (error) {
    throw sqliteFailure(error, path);
  } finally {
    db.close();
  }
}

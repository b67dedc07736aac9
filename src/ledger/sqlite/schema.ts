/**
 * The file of a single server's ledger. `history` holds every version of every key since the last
 * compaction; `superseded` is the revision that replaced a row, so that the state at revision R is
 * `revision <= R AND (superseded IS NULL OR superseded > R)`. Current values are the rows without
 * it, found through a partial index: reading them costs nothing for history. A deletion is a row
 * without value that is superseded by itself.
 */
import { SkerryError } from "../../lib/errors.ts";
import { uuid, type Random } from "../../lib/random.ts";
import { openDatabase, sqliteFailure, type Database } from "../../runtime/sqlite/index.ts";
import type { Epoch } from "../ledger.ts";

const schemaVersion = 1;

const schema = `
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    revision INTEGER NOT NULL,
    compacted INTEGER NOT NULL
  );
  CREATE TABLE leases (lease TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease TEXT,
    superseded INTEGER
  );
  CREATE INDEX history_by_revision ON history (revision);
  CREATE INDEX history_by_key ON history (key, revision);
  CREATE UNIQUE INDEX history_current ON history (key) WHERE superseded IS NULL;
  CREATE INDEX history_lease ON history (lease) WHERE superseded IS NULL AND lease IS NOT NULL;
  CREATE INDEX history_superseded ON history (superseded) WHERE superseded IS NOT NULL;
`;

/**
 * Opens or creates the file. `newEpoch` declares that its history was rewritten (a restored
 * snapshot). Throws `store-damaged`, `store-too-new`, `disk-full` or `store-unavailable`.
 */
export function openFile(
  deps: { random: Random },
  options: { path: string; newEpoch?: boolean; pagesMax?: number },
): { db: Database; epoch: Epoch } {
  const { path } = options;
  const db = openOrExplain(path);
  try {
    if (options.pagesMax !== undefined)
      db.exec(`PRAGMA max_page_count = ${Math.trunc(options.pagesMax)}`);
    const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
    if (version > schemaVersion) {
      throw new SkerryError({
        code: "store-too-new",
        message: `${path} was written by a newer Skerry (format ${version}, known ${schemaVersion})`,
        hint: "start the newer version again; nothing was changed",
      });
    }
    db.exec("BEGIN IMMEDIATE");
    if (version === 0) {
      db.exec(schema);
      db.prepare("INSERT INTO state VALUES (1, ?, 0, 0)").run(uuid(deps.random));
      db.exec(`PRAGMA user_version = ${schemaVersion}`);
    } else if (options.newEpoch) {
      db.prepare("UPDATE state SET epoch = ?").run(uuid(deps.random));
    }
    db.exec("COMMIT");
    return { db, epoch: readEpoch(db, path) };
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
}

/** The one store of a node that nobody else has a copy of: the general advice would lose the cell's state. */
function openOrExplain(path: string): Database {
  try {
    return openDatabase(path, { synchronous: "full" });
  } catch (cause) {
    if (!(cause instanceof SkerryError) || cause.code !== "store-damaged") throw cause;
    throw new SkerryError({
      code: "store-damaged",
      message: `${path} is damaged`,
      hint: `keep the file and restore a copy of it; without one move it away (with its -wal and -shm): the cell then starts with nothing declared, stops its pods, and needs its manifests applied again`,
      ...(cause.cause === undefined ? {} : { cause: cause.cause }),
    });
  }
}

function readEpoch(db: Database, path: string): Epoch {
  const epoch = db.prepare("SELECT epoch FROM state").get()?.["epoch"];
  if (typeof epoch !== "string" || epoch === "") {
    throw new SkerryError({
      code: "store-damaged",
      message: `${path} is damaged: it has no epoch`,
      hint: "move the file (with its -wal and -shm) away and restore a snapshot",
    });
  }
  return epoch as Epoch;
}

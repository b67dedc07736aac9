/**
 * The tables of a store of documents. Names are interned, so that a row of the log is two numbers and
 * the operation, and a document is its body, in JSON that SQLite can look into, and what a merge needs.
 */
import { prepareLayout, type Database, type SqlDatabase } from "../../runtime/sqlite/index.ts";
import { createIndexes, type Indexes } from "./indexes.ts";
import { layouts } from "./layouts.ts";
import { createLogTables, type LogTables } from "./log-tables.ts";
import { namesOfKey } from "./once.ts";
import type { DocumentRow, DocumentTables, StagedRow } from "./tables.ts";

const keysMax = 100_000;
/** Room between two removals of old keys, so that not every write removes one. */
const keysSlack = 1000;

export type SqliteTables = Omit<DocumentTables, "origins"> &
  LogTables & {
    list(query: {
      collection: string;
      after: string;
      limit: number;
      conflicted: boolean;
    }): DocumentRow[];
    /** As `staged`, `clearStaged`, `stagedAt` and `setStagedAt`, of one collection. */
    stagedOf(collection: string, limit: number): StagedRow[];
    clearStagedOf(collection: string): void;
    stagedAtOf(scope: string): string | undefined;
    setStagedAtOf(scope: string, text: string | undefined): void;
    /** Whether there is, or was, a document of it. */
    knows(collection: string): boolean;
    counts(): { name: string; documents: number; conflicted: number }[];
    lastChangeOf(collection: string): number;
    /** As `clearDocuments`, of one collection and of origins whose names begin so. */
    clearCollection(collection: string, scope: string): void;
    /** Removes up to this many rows of both, log and all; false when there were none. */
    removeSome(collection: string, scope: string, rowsMax: number): boolean;
    /** What cursors of this file begin with, from the next start on. */
    setView(view: string): void;
    /** Whether a collection's indexes are other than these, as JSON pointers. */
    indexesDiffer(collection: string, paths: readonly string[]): boolean;
    declareIndexes(collection: string, paths: readonly string[]): void;
    /** As JSON pointers. */
    indexesOf(collection: string): readonly string[];
    /** Fills or empties a piece of an index; false when there was nothing to do. */
    stepIndexes(): boolean;
    /** After a transaction was undone: what was cached of it is gone. */
    forget(): void;
  };

/** Throws `store-newer` for a file of a later version. */
export function openTables(db: Database, path: string): SqliteTables {
  prepareLayout(db, { path, steps: layouts });
  return createDocumentTables(db, createIndexes(db));
}

/** Over tables that are there. */
export function createDocumentTables(db: SqlDatabase, indexes: Indexes): SqliteTables {
  const statements = {
    stage: db.prepare("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?)"),
    staged: db.prepare(
      `SELECT collection.name, staged.id, body, state, conflicts
       FROM staged JOIN collection ON collection.id = staged.collection LIMIT ?`,
    ),
    stagedOf: db.prepare("SELECT * FROM staged WHERE collection = ? LIMIT ?"),
    unstage: db.prepare("DELETE FROM staged WHERE collection = ? AND id = ?"),
    stageKey: db.prepare("INSERT OR IGNORE INTO staged_key VALUES (?)"),
    clearStagedOf: db.prepare("DELETE FROM staged WHERE collection = ?"),
    keys: db.prepare("SELECT id, name FROM write_key WHERE id > ? ORDER BY id LIMIT ?"),
    dropMeta: db.prepare("DELETE FROM meta WHERE name = ?"),
    findCollection: db.prepare("SELECT id FROM collection WHERE name = ?"),
    addCollection: db.prepare("INSERT INTO collection(name) VALUES (?) RETURNING id"),
    document: db.prepare(
      "SELECT id, body, state, change, conflicts FROM document WHERE collection = ? AND id = ?",
    ),
    saveDocument: db.prepare(
      `INSERT INTO document VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (collection, id) DO UPDATE SET
         body = excluded.body, state = excluded.state,
         change = excluded.change, conflicts = excluded.conflicts`,
    ),
    lastChange: db.prepare(
      `SELECT max(last) AS last FROM (SELECT
         (SELECT max(change) FROM document WHERE document.collection = collection.id) AS last
       FROM collection)`,
    ),
    lastChangeOf: db.prepare("SELECT max(change) AS last FROM document WHERE collection = ?"),
    list: db.prepare(
      `SELECT id, body, state, change, conflicts FROM document
       WHERE collection = ? AND id > ? AND body IS NOT NULL ORDER BY id LIMIT ?`,
    ),
    conflicted: db.prepare(
      `SELECT id, body, state, change, conflicts FROM document
       WHERE collection = ? AND id > ? AND conflicts > 0 AND body IS NOT NULL ORDER BY id LIMIT ?`,
    ),
    changes: db.prepare(
      `SELECT id, body, state, change, conflicts FROM document
       WHERE collection = ? AND change > ? ORDER BY change LIMIT ?`,
    ),
    counts: db.prepare("SELECT name, documents, conflicted FROM collection ORDER BY name"),
    clearDocumentsOf: db.prepare("DELETE FROM document WHERE collection = ?"),
    clearCounts: db.prepare("UPDATE collection SET documents = 0, conflicted = 0 WHERE id = ?"),
    removeDocuments: db.prepare(
      `DELETE FROM document WHERE collection = ?1 AND id IN
         (SELECT id FROM document WHERE collection = ?1 LIMIT ?2) RETURNING id`,
    ),
    removeCollection: db.prepare("DELETE FROM collection WHERE id = ?"),
    hasKey: db.prepare("SELECT 1 FROM write_key WHERE name = ?"),
    keyOf: db.prepare("SELECT name FROM write_key WHERE name >= ? AND name < ? LIMIT 1"),
    addKey: db.prepare(
      "INSERT INTO write_key(name) VALUES (?) ON CONFLICT DO NOTHING RETURNING id",
    ),
    dropKeys: db.prepare("DELETE FROM write_key WHERE id <= ?"),
    meta: db.prepare("SELECT value FROM meta WHERE name = ?"),
    setMeta: db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)"),
  };
  const log = createLogTables(db);
  const meta = (name: string): string | undefined => {
    const value = statements.meta.get(name)?.["value"];
    return typeof value === "string" ? value : undefined;
  };
  const putMeta = (name: string, value: string | undefined): void => {
    if (value === undefined) statements.dropMeta.run(name);
    else statements.setMeta.run(name, value);
  };
  const collections = new Map<string, number>();
  const findCollection = (name: string): number | undefined => {
    const known = collections.get(name);
    if (known !== undefined) return known;
    const row = statements.findCollection.get(name);
    if (!row) return undefined;
    collections.set(name, Number(row["id"]));
    return Number(row["id"]);
  };
  const collectionId = (name: string): number => {
    const id = findCollection(name) ?? Number(statements.addCollection.get(name)?.["id"]);
    collections.set(name, id);
    return id;
  };
  const rowOf = (collection: string, row: Record<string, unknown>): DocumentRow => ({
    collection,
    id: String(row["id"]),
    body: row["body"] === null ? null : String(row["body"]),
    state: String(row["state"]),
    change: Number(row["change"]),
    conflicts: Number(row["conflicts"]),
  });

  return {
    ...log,
    document(collection, id) {
      const number = findCollection(collection);
      const row = number === undefined ? undefined : statements.document.get(number, id);
      return row && rowOf(collection, row);
    },
    saveDocument({ collection, id, body, state, change, conflicts }) {
      const number = collectionId(collection);
      if (indexes.has(number)) {
        const before = statements.document.get(number, id)?.["body"];
        const was = typeof before === "string" ? before : null;
        indexes.changed(number, { id, before: was, after: body });
      }
      statements.saveDocument.run(number, id, body, state, change, conflicts);
    },
    lastChange: () => Number(statements.lastChange.get()?.["last"] ?? 0),
    lastChangeOf(collection) {
      const number = findCollection(collection);
      return number === undefined ? 0 : Number(statements.lastChangeOf.get(number)?.["last"] ?? 0);
    },
    list({ collection, after, limit, conflicted }) {
      const number = findCollection(collection);
      if (number === undefined) return [];
      const statement = conflicted ? statements.conflicted : statements.list;
      return statement.all(number, after, limit).map((row) => rowOf(collection, row));
    },
    changes({ collection, since, limit }) {
      const number = findCollection(collection);
      if (number === undefined) return [];
      return statements.changes.all(number, since, limit).map((row) => rowOf(collection, row));
    },
    collections: () => statements.counts.all().map(({ name }) => String(name)),
    stage: ({ collection, id, body, state, conflicts }) =>
      void statements.stage.run(collectionId(collection), id, body, state, conflicts),
    staged: (limit) =>
      statements.staged.all(limit).map((row) => rowOf(String(row["name"]), { ...row, change: 0 })),
    stagedOf(collection, limit) {
      const number = findCollection(collection);
      if (number === undefined) return [];
      const rows = statements.stagedOf.all(number, limit);
      return rows.map((row) => rowOf(collection, { ...row, change: 0 }));
    },
    unstage({ collection, id }) {
      statements.unstage.run(collectionId(collection), id);
    },
    stageKey: (key) => void statements.stageKey.run(key),
    adoptKeys: () =>
      db.exec(`INSERT OR IGNORE INTO write_key(name) SELECT name FROM staged_key;
        DELETE FROM staged_key`),
    clearStaged: () => db.exec("DELETE FROM staged; DELETE FROM staged_key"),
    clearStagedOf(collection) {
      const number = findCollection(collection);
      if (number !== undefined) statements.clearStagedOf.run(number);
    },
    stagedAt: () => meta("staged"),
    setStagedAt: (text) => putMeta("staged", text),
    stagedAtOf: (scope) => meta(`staged ${scope}`),
    setStagedAtOf: (scope, text) => putMeta(`staged ${scope}`, text),
    knows: (collection) => findCollection(collection) !== undefined,
    counts: () =>
      statements.counts.all().map((row) => ({
        name: String(row["name"]),
        documents: Number(row["documents"]),
        conflicted: Number(row["conflicted"]),
      })),
    hasKey: (key) => statements.hasKey.get(key) !== undefined,
    keyOf(id) {
      const name = statements.keyOf.get(...namesOfKey(id))?.["name"];
      return name === undefined ? undefined : String(name);
    },
    addKey(key) {
      const id = Number(statements.addKey.get(key)?.["id"] ?? 0);
      if (id > 0 && id % keysSlack === 0) statements.dropKeys.run(id - keysMax);
    },
    keys: (after, limit) =>
      statements.keys
        .all(after, limit)
        .map((row) => ({ at: Number(row["id"]), key: String(row["name"]) })),
    clearDocuments() {
      db.exec(`DELETE FROM document; DELETE FROM seen; DELETE FROM meta WHERE name = 'left_out';
        UPDATE collection SET documents = 0, conflicted = 0`);
      indexes.clear();
    },
    clearCollection(collection, scope) {
      const number = findCollection(collection);
      log.clearSeen(scope);
      if (number === undefined) return;
      indexes.clear(number);
      statements.clearDocumentsOf.run(number);
      statements.clearCounts.run(number);
    },
    removeSome(collection, scope, rowsMax) {
      const number = findCollection(collection);
      // What they hold is emptied in pieces of its own.
      if (number !== undefined && indexes.has(number)) indexes.declare(number, []);
      if (number !== undefined && statements.removeDocuments.all(number, rowsMax).length > 0)
        return true;
      if (log.removeOperations(scope, rowsMax)) return true;
      if (number !== undefined) statements.clearStagedOf.run(number);
      putMeta(`staged ${scope}`, undefined);
      log.clearSeen(scope);
      log.removeOrigins(scope);
      if (number !== undefined) statements.removeCollection.run(number);
      collections.delete(collection);
      return false;
    },
    own: () => meta("origin"),
    setOwn: (origin) => void statements.setMeta.run("origin", origin),
    leftOut: () => meta("left_out"),
    setLeftOut: (known) => void statements.setMeta.run("left_out", known),
    setView: (view) => putMeta("view", view),
    rescued: () => meta("rescued"),
    setRescued: (text) => putMeta("rescued", text),
    indexesDiffer: (collection, paths) => indexes.differ(findCollection(collection), paths),
    declareIndexes: (collection, paths) => indexes.declare(collectionId(collection), paths),
    indexesOf: (collection) => indexes.paths(findCollection(collection)),
    stepIndexes: () => indexes.step(),
    forget() {
      collections.clear();
      indexes.forget();
    },
  };
}

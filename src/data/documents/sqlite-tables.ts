/**
 * The tables of a store of documents. Names are interned, so that a row of the log is two numbers and
 * the operation, and a document is its body, in JSON that SQLite can look into, and what a merge needs.
 */
import { prepareLayout, type Database } from "../../runtime/sqlite/index.ts";
import { createIndexes, indexLayout } from "./indexes.ts";
import type { DocumentRow, DocumentTables, OriginRow, StagedRow } from "./tables.ts";

const keysMax = 100_000;
/** Room between two removals of old keys, so that not every write removes one. */
const keysSlack = 1000;

/** A file of layout n is brought to the newest by `layouts[n]` and all after it. */
const layouts = [
  `
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE origin(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  stored INTEGER NOT NULL DEFAULT 0, applied INTEGER NOT NULL DEFAULT 0, hlc INTEGER NOT NULL DEFAULT 0);
-- What the last applied operation of an origin knew of another one's log.
CREATE TABLE seen(
  origin INTEGER NOT NULL, other TEXT NOT NULL, upto INTEGER NOT NULL,
  PRIMARY KEY(origin, other)) WITHOUT ROWID;
CREATE TABLE operation(
  origin INTEGER NOT NULL, sequence INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY(origin, sequence)) WITHOUT ROWID;
CREATE TABLE collection(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
-- body: NULL once deleted. change: the place in the order in which documents changed here.
CREATE TABLE document(
  collection INTEGER NOT NULL, id TEXT NOT NULL, body TEXT, state TEXT NOT NULL,
  change INTEGER NOT NULL, conflicts INTEGER NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID;
CREATE UNIQUE INDEX document_change ON document(change);
CREATE INDEX document_conflicts ON document(collection, id) WHERE conflicts > 0;
CREATE TABLE write_key(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
`,
  // Counts that are kept rather than counted, and an order of changes for each collection: what is
  // asked of one does not grow with the others.
  `
ALTER TABLE collection ADD COLUMN documents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collection ADD COLUMN conflicted INTEGER NOT NULL DEFAULT 0;
UPDATE collection SET (documents, conflicted) =
  (SELECT count(body), count(body) FILTER (WHERE conflicts > 0)
   FROM document WHERE document.collection = collection.id);
CREATE TRIGGER document_added AFTER INSERT ON document BEGIN
  UPDATE collection SET
    documents = documents + (NEW.body IS NOT NULL),
    conflicted = conflicted + (NEW.conflicts > 0)
  WHERE id = NEW.collection;
END;
CREATE TRIGGER document_changed AFTER UPDATE ON document
WHEN (OLD.body IS NULL) <> (NEW.body IS NULL) OR (OLD.conflicts > 0) <> (NEW.conflicts > 0) BEGIN
  UPDATE collection SET
    documents = documents + (NEW.body IS NOT NULL) - (OLD.body IS NOT NULL),
    conflicted = conflicted + (NEW.conflicts > 0) - (OLD.conflicts > 0)
  WHERE id = NEW.collection;
END;
DROP INDEX document_change;
CREATE UNIQUE INDEX document_order ON document(collection, change);
`,
  indexLayout,
  // A log that is forgotten from its beginning; what came of a snapshot before all of it is here.
  `
ALTER TABLE origin ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE origin ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE origin SET bytes =
  (SELECT coalesce(sum(length(text)), 0) FROM operation WHERE operation.origin = origin.id);
CREATE TABLE staged(
  collection INTEGER NOT NULL, id TEXT NOT NULL, body TEXT, state TEXT NOT NULL,
  conflicts INTEGER NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID;
CREATE TABLE staged_key(name TEXT PRIMARY KEY) WITHOUT ROWID;
`,
];

export type SqliteTables = Omit<DocumentTables, "origins"> & {
  /** All, or those whose names begin so. */
  origins(scope?: string): OriginRow[];
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
  /** Fills or empties a piece of an index; false when there was nothing to do. */
  stepIndexes(): boolean;
  /** After a transaction was undone: what was cached of it is gone. */
  forget(): void;
};

/** Throws `store-newer` for a file of a later version. */
export function openTables(db: Database, path: string): SqliteTables {
  prepareLayout(db, { path, steps: layouts });
  const statements = {
    origins: db.prepare(
      `SELECT id, name, stored, applied, hlc, floor, bytes FROM origin
       WHERE name >= ? AND name < ? ORDER BY id`,
    ),
    seen: db.prepare(
      `SELECT origin, other, upto FROM seen
       WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?)`,
    ),
    addOrigin: db.prepare("INSERT INTO origin(name) VALUES (?) RETURNING id"),
    saveOrigin: db.prepare(
      "UPDATE origin SET stored = ?, applied = ?, hlc = ?, floor = ?, bytes = ? WHERE id = ?",
    ),
    saveSeen: db.prepare("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)"),
    addOperation: db.prepare("INSERT INTO operation VALUES (?, ?, ?)"),
    operations: db.prepare(
      // From the one that holds the position: at the hub one may cover several.
      `SELECT sequence, text FROM operation WHERE origin = ?1 AND sequence >=
         coalesce((SELECT max(sequence) FROM operation WHERE origin = ?1 AND sequence <= ?2), ?2)
       ORDER BY sequence`,
    ),
    bytesAfter: db.prepare(
      "SELECT sum(length(text)) AS bytes FROM operation WHERE origin = ? AND sequence > ?",
    ),
    dropOperations: db.prepare("DELETE FROM operation WHERE origin = ? AND sequence > ?"),
    oldest: db.prepare(
      `SELECT max(sequence) AS upto, sum(bytes) AS bytes FROM (
         SELECT sequence, length(text) AS bytes FROM operation
         WHERE origin = ? AND sequence <= ? ORDER BY sequence LIMIT ?)`,
    ),
    forgetOperations: db.prepare("DELETE FROM operation WHERE origin = ? AND sequence <= ?"),
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
      `INSERT INTO document VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
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
    clearSeenOf: db.prepare(
      "DELETE FROM seen WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?)",
    ),
    clearCounts: db.prepare("UPDATE collection SET documents = 0, conflicted = 0 WHERE id = ?"),
    removeDocuments: db.prepare(
      `DELETE FROM document WHERE collection = ?1 AND id IN
         (SELECT id FROM document WHERE collection = ?1 LIMIT ?2)`,
    ),
    removeOperations: db.prepare(
      `DELETE FROM operation WHERE (origin, sequence) IN
         (SELECT origin, sequence FROM operation
          WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?) LIMIT ?)`,
    ),
    removeOrigins: db.prepare("DELETE FROM origin WHERE name >= ? AND name < ?"),
    removeCollection: db.prepare("DELETE FROM collection WHERE id = ?"),
    hasKey: db.prepare("SELECT 1 FROM write_key WHERE name = ?"),
    addKey: db.prepare("INSERT OR IGNORE INTO write_key(name) VALUES (?)"),
    dropKeys: db.prepare("DELETE FROM write_key WHERE id <= ?"),
    meta: db.prepare("SELECT value FROM meta WHERE name = ?"),
    setMeta: db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)"),
  };
  const indexes = createIndexes(db);
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
    origins(scope = "") {
      const rows = statements.origins.all(...rangeOf(scope)).map((row): OriginRow => ({
        id: Number(row["id"]),
        name: String(row["name"]),
        stored: Number(row["stored"]),
        applied: Number(row["applied"]),
        hlc: Number(row["hlc"]),
        floor: Number(row["floor"]),
        bytes: Number(row["bytes"]),
        seen: new Map(),
      }));
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const { origin, other, upto } of statements.seen.all(...rangeOf(scope)))
        byId.get(Number(origin))?.seen.set(String(other), Number(upto));
      return rows;
    },
    addOrigin(name) {
      const id = Number(statements.addOrigin.get(name)?.["id"]);
      return { id, name, stored: 0, applied: 0, hlc: 0, floor: 0, bytes: 0, seen: new Map() };
    },
    saveOrigin: ({ id, stored, applied, hlc, floor, bytes }) =>
      void statements.saveOrigin.run(stored, applied, hlc, floor, bytes, id),
    saveSeen: ({ id }, other, upto) => void statements.saveSeen.run(id, other, upto),
    addOperation: ({ id }, { sequence, text }) =>
      void statements.addOperation.run(id, sequence, text),
    operations({ id }, from, bytesMax) {
      const found: { sequence: number; text: string }[] = [];
      let bytes = 0;
      for (const { sequence, text } of statements.operations.iterate(id, from)) {
        found.push({ sequence: Number(sequence), text: String(text) });
        bytes += String(text).length;
        if (bytes >= bytesMax) break;
      }
      return found;
    },
    dropOperations({ id }, after) {
      const bytes = Number(statements.bytesAfter.get(id, after)?.["bytes"] ?? 0);
      statements.dropOperations.run(id, after);
      return bytes;
    },
    forgetOperations({ id }, until, rowsMax) {
      const found = statements.oldest.get(id, until, rowsMax);
      const upto = Number(found?.["upto"] ?? 0);
      statements.forgetOperations.run(id, upto);
      return { upto, bytes: Number(found?.["bytes"] ?? 0) };
    },
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
    addKey(key) {
      const { lastInsertRowid, changes } = statements.addKey.run(key);
      if (changes > 0 && Number(lastInsertRowid) % keysSlack === 0)
        statements.dropKeys.run(Number(lastInsertRowid) - keysMax);
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
      statements.clearSeenOf.run(...rangeOf(scope));
      if (number === undefined) return;
      indexes.clear(number);
      statements.clearDocumentsOf.run(number);
      statements.clearCounts.run(number);
    },
    removeSome(collection, scope, rowsMax) {
      const number = findCollection(collection);
      // What they hold is emptied in pieces of its own.
      if (number !== undefined && indexes.has(number)) indexes.declare(number, []);
      if (number !== undefined && statements.removeDocuments.run(number, rowsMax).changes > 0)
        return true;
      if (statements.removeOperations.run(...rangeOf(scope), rowsMax).changes > 0) return true;
      if (number !== undefined) statements.clearStagedOf.run(number);
      putMeta(`staged ${scope}`, undefined);
      statements.clearSeenOf.run(...rangeOf(scope));
      statements.removeOrigins.run(...rangeOf(scope));
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
    stepIndexes: () => indexes.step(),
    forget() {
      collections.clear();
      indexes.forget();
    },
  };
}

/** Names that begin so: from, and before. */
const rangeOf = (scope: string) => [scope, `${scope}\u{10FFFF}`] as const;

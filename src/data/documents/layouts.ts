/** The layouts of a file of documents, each made of the one before. */
import { claimLayout } from "./claims.ts";
import { indexLayout } from "./indexes.ts";

/** A file of layout n is brought to the newest by `layouts[n]` and all after it. */
export const layouts = [
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
  claimLayout,
  // How old what stands before a change is, by the clock of this store (`ages.ts`).
  `
CREATE TABLE age_mark(first_change INTEGER PRIMARY KEY, age_ms INTEGER NOT NULL) WITHOUT ROWID;
`,
];

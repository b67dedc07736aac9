/**
 * The tables of a store of entries, shared by the node's store (scope "") and the hub's (scope: the
 * cell's name). Names are interned, so that a row is a few small integers and the body.
 */
import { prepareLayout, type Database } from "../../runtime/sqlite/index.ts";

/** A file of layout n is brought to the newest by `layouts[n]` and all after it. */
const layouts = [
  `
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- top: every position up to it is here or has no entry. hub_top: the same at the hub.
CREATE TABLE origin(
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, name TEXT NOT NULL,
  top INTEGER NOT NULL DEFAULT 0, hub_top INTEGER NOT NULL DEFAULT 0, UNIQUE(scope, name));
CREATE TABLE stream(
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, name TEXT NOT NULL,
  entries INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  dropped_before_hub INTEGER NOT NULL DEFAULT 0, UNIQUE(scope, name));
CREATE TABLE producer(
  id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE(stream, name));
-- id: the place in this store's merged view; it only grows and is never used twice.
CREATE TABLE entry(
  id INTEGER PRIMARY KEY, origin INTEGER NOT NULL, sequence INTEGER NOT NULL,
  stream INTEGER NOT NULL, producer INTEGER, epoch INTEGER, producer_sequence INTEGER,
  at_ms INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX entry_position ON entry(origin, sequence);
CREATE UNIQUE INDEX entry_key ON entry(producer, epoch, producer_sequence) WHERE producer IS NOT NULL;
CREATE INDEX entry_stream ON entry(stream);
-- A position of a log whose entry stands under another position: the same key, accepted twice.
CREATE TABLE alias(
  origin INTEGER NOT NULL, sequence INTEGER NOT NULL, entry INTEGER NOT NULL,
  PRIMARY KEY(origin, sequence)) WITHOUT ROWID;
CREATE INDEX alias_entry ON alias(entry);
-- Keys that retention removed, as ranges of producer sequences: resends of them are not stored again.
CREATE TABLE removed(
  producer INTEGER NOT NULL, epoch INTEGER NOT NULL, ranges TEXT NOT NULL,
  PRIMARY KEY(producer, epoch)) WITHOUT ROWID;
-- When entries arrived, roughly: rows from first_id on arrived at age_ms or later on the store's own clock.
CREATE TABLE tide(first_id INTEGER PRIMARY KEY, age_ms INTEGER NOT NULL);
`,
  `
-- Sealed entries: directory and content apart, so that the directory stays small.
-- id: of its first entry. bytes: on disk, with its lines here. from_ms, to_ms: the least and greatest at.
CREATE TABLE segment(
  id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, stream INTEGER NOT NULL,
  entries INTEGER NOT NULL, bytes INTEGER NOT NULL,
  from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX segment_stream ON segment(stream, last_id);
CREATE TABLE segment_bytes(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
-- Where the log of an origin stands in segments: disjoint within an origin and stream.
CREATE TABLE piece(
  origin INTEGER NOT NULL, stream INTEGER NOT NULL, last_sequence INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL, segment INTEGER NOT NULL,
  entries INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY(origin, stream, last_sequence)) WITHOUT ROWID;
CREATE INDEX piece_segment ON piece(segment);
-- Sealed keys, each run of sequences without a gap.
CREATE TABLE run(
  producer INTEGER NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  segment INTEGER NOT NULL, PRIMARY KEY(producer, epoch, first)) WITHOUT ROWID;
-- Where the entry of an alias is sealed; null while it is a row.
ALTER TABLE alias ADD COLUMN segment INTEGER;
`,
  `
ALTER TABLE stream ADD COLUMN dropped_when_full INTEGER NOT NULL DEFAULT 0;
`,
  `
-- Consumer groups: the ids that are done, as blocks.
CREATE TABLE consumer(
  stream TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, done TEXT NOT NULL,
  PRIMARY KEY(stream, name)) WITHOUT ROWID;
`,
  `
-- Apart from the content of a segment: what puts it together again when that is damaged.
CREATE TABLE segment_plan(id INTEGER PRIMARY KEY, plan BLOB NOT NULL, crc INTEGER NOT NULL);
-- Content that was put together again. The damaged one stays where it is: SQLite frees nothing that it
-- cannot read.
CREATE TABLE segment_again(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL, crc INTEGER NOT NULL);
`,
  `
-- Streams that go to the hub apart from the rest of their origin's log; top: as hub_top.
CREATE TABLE hub_lane(
  origin INTEGER NOT NULL, stream INTEGER NOT NULL, top INTEGER NOT NULL,
  PRIMARY KEY(origin, stream)) WITHOUT ROWID;
`,
  `
-- Earlier versions joined ranges when there were more than 16, over keys that were never here: an entry
-- that is taken twice is better than one that is refused for ever.
DELETE FROM removed WHERE json_array_length(ranges) >= 16;
`,
  `
-- Earlier versions kept all epochs of a producer for ever.
DELETE FROM removed WHERE (producer, epoch) IN (
  SELECT producer, epoch FROM (
    SELECT producer, epoch, row_number() OVER (PARTITION BY producer ORDER BY epoch DESC) AS nth
    FROM removed)
  WHERE nth > 16);
`,
];

/** Of segments; a damaged one is found when it is read, and does not keep a store from being opened (S3). */
export const contentTables = ["segment_bytes", "segment_again"];

/** Makes the tables in a new file, brings an older one up. Throws `store-newer` for a later version. */
export function prepareTables(db: Database, path: string): void {
  prepareLayout(db, { path, steps: layouts });
}

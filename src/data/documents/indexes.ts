/**
 * Indexes of collections: the keys of every document at a path, in a table of their own. A write keeps
 * them in its own transaction; a new index is filled, and an old one emptied, in small steps between
 * other writes. Only one that is whole is there for queries (Q3).
 */
import { parsePath, type Path } from "../../api/records/index.ts";
import type { SqlDatabase } from "../../runtime/sqlite/index.ts";
import { keysOf } from "../queries/keys.ts";
import type { Json } from "./json.ts";
import { keepRows, type KeptRows } from "./kept-rows.ts";

export const indexLayout = `
-- path: a JSON pointer. state: building (up to built_to), whole, or dropped.
CREATE TABLE document_index(
  number INTEGER PRIMARY KEY, collection INTEGER NOT NULL, path TEXT NOT NULL,
  state TEXT NOT NULL, built_to TEXT NOT NULL);
CREATE TABLE document_key(
  number INTEGER NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY(number, key, id)) WITHOUT ROWID;
`;

export interface Indexes {
  /** Whether `declare` would change anything. */
  differ(collection: number | undefined, paths: readonly string[]): boolean;
  /** Those that are declared, as JSON pointers. */
  paths(collection: number | undefined): readonly string[];
  /** Inside a transaction, like all that follows. What is not named is dropped. */
  declare(collection: number, paths: readonly string[]): void;
  has(collection: number): boolean;
  /** A document is different now; null: it is not there. */
  changed(
    collection: number,
    document: { id: string; before: string | null; after: string | null },
  ): void;
  /** A piece of what is to be filled or emptied; false when there was nothing to do. */
  step(): boolean;
  /** All documents are gone, or those of one collection. */
  clear(collection?: number): void;
  /** After a transaction was undone. */
  forget(): void;
}

type IndexRow = {
  readonly number: number;
  readonly collection: number;
  readonly pointer: string;
  readonly path: Path;
  readonly state: "building" | "whole" | "dropped";
  readonly builtTo: string;
};

const stepDocuments = 200;
const stepBytes = 256 * 1024;
const stepKeys = 1000;

export function createIndexes(db: SqlDatabase): Indexes {
  const selectRows = db.prepare(
    "SELECT number, collection, path, state, built_to FROM document_index ORDER BY number",
  );
  const addRow = db.prepare(
    `INSERT INTO document_index(collection, path, state, built_to) VALUES (?, ?, 'building', '')
     RETURNING number`,
  );
  const setState = db.prepare("UPDATE document_index SET state = ?, built_to = ? WHERE number = ?");
  const deleteRow = db.prepare("DELETE FROM document_index WHERE number = ?");
  const addKey = db.prepare("INSERT OR IGNORE INTO document_key VALUES (?, ?, ?)");
  const deleteKey = db.prepare("DELETE FROM document_key WHERE number = ? AND key = ? AND id = ?");
  const deleteKeys = db.prepare(
    `DELETE FROM document_key WHERE number = ?1 AND (key, id) IN
       (SELECT key, id FROM document_key WHERE number = ?1 LIMIT ?2) RETURNING id`,
  );
  const clearKeys = db.prepare("DELETE FROM document_key WHERE number = ?");
  const documentsFrom = db.prepare(
    `SELECT id, body FROM document
     WHERE collection = ? AND id > ? AND body IS NOT NULL ORDER BY id LIMIT ?`,
  );

  /** Undefined: to be read when somebody asks. */
  let known: KeptRows<IndexRow, number> | undefined;
  const read = () =>
    selectRows.all().map((row) => ({
      number: Number(row["number"]),
      collection: Number(row["collection"]),
      pointer: String(row["path"]),
      path: parsePath(String(row["path"])) ?? [],
      state: String(row["state"]) as IndexRow["state"],
      builtTo: String(row["built_to"]),
    }));
  const rows = () =>
    (known ??= keepRows<IndexRow, number>(read(), {
      keyOf: ({ collection }) => collection,
      isBefore: (a, b) => a.number < b.number,
    }));
  const forget = () => {
    known = undefined;
  };
  const of = (collection: number | undefined) =>
    collection === undefined ? [] : rows().of(collection);
  const become = (index: IndexRow, state: IndexRow["state"], builtTo: string) => {
    setState.run(state, builtTo, index.number);
    rows().put({ ...index, state, builtTo });
  };
  const parsed = (body: string | null) => (body === null ? undefined : (JSON.parse(body) as Json));

  const build = (index: IndexRow) => {
    const { number, path, collection } = index;
    let { builtTo } = index;
    let documents = 0;
    let bytes = 0;
    for (const row of documentsFrom.iterate(collection, builtTo, stepDocuments)) {
      const body = String(row["body"]);
      builtTo = String(row["id"]);
      for (const key of keysOf(JSON.parse(body) as Json, path).values())
        addKey.run(number, key, builtTo);
      documents++;
      bytes += body.length;
      if (bytes >= stepBytes) break;
    }
    const isWhole = documents < stepDocuments && bytes < stepBytes;
    become(index, isWhole ? "whole" : "building", builtTo);
  };
  const empty = ({ number }: IndexRow) => {
    if (deleteKeys.all(number, stepKeys).length > 0) return;
    deleteRow.run(number);
    rows().remove(number);
  };

  return {
    differ(collection, paths) {
      const here = of(collection);
      return here.length !== paths.length || here.some(({ pointer }) => !paths.includes(pointer));
    },
    paths: (collection) => of(collection).map(({ pointer }) => pointer),
    declare(collection, paths) {
      for (const index of of(collection))
        if (!paths.includes(index.pointer)) become(index, "dropped", index.builtTo);
      const here = new Set(of(collection).map(({ pointer }) => pointer));
      for (const pointer of paths) {
        if (here.has(pointer)) continue;
        const number = Number(addRow.get(collection, pointer)?.["number"]);
        const path = parsePath(pointer) ?? [];
        rows().put({ number, collection, pointer, path, state: "building", builtTo: "" });
      }
    },
    has: (collection) => rows().has(collection),
    changed(collection, { id, before, after }) {
      const [old, now] = [parsed(before), parsed(after)];
      for (const { number, path, state } of of(collection)) {
        const had = old === undefined ? new Map<string, Buffer>() : keysOf(old, path);
        const has = now === undefined ? new Map<string, Buffer>() : keysOf(now, path);
        for (const [text, key] of had) if (!has.has(text)) deleteKey.run(number, key, id);
        // While it is filled, a key that was there before may not be in it yet.
        for (const [text, key] of has)
          if (state === "building" || !had.has(text)) addKey.run(number, key, id);
      }
    },
    step() {
      const index = rows().unfinished();
      if (!index) return false;
      if (index.state === "building") build(index);
      else empty(index);
      return true;
    },
    clear(only) {
      for (const index of only === undefined ? [...rows().all()] : of(only)) {
        if (index.state === "dropped") continue;
        clearKeys.run(index.number);
        become(index, "whole", "");
      }
    },
    forget,
  };
}

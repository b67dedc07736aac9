/** The statements of queries over documents, on a read-only connection. Every value is bound; paths stay outside. */
import type { Database, Statement } from "../../runtime/sqlite/index.ts";
import type { Json } from "../documents/json.ts";
import type { Subject } from "./evaluate.ts";
import type { Index } from "./query.ts";
import { parsePath } from "../../api/records/index.ts";
import type { KeyRange } from "./keys.ts";
import { fewMax } from "./plan.ts";
import type { Found, IdWalk, KeyWalk, QuerySource } from "./source.ts";

/** A document in a store. */
export type FoundText = Found & { readonly id: string; readonly body: string };
export type Changed = { readonly id: string; readonly body: string | null };

export interface Reads {
  collection(name: string): { readonly number: number; readonly documents: number } | undefined;
  /** Those that are whole. */
  indexes(collection: number): Index[];
  /** Entries in these ranges, counted up to `fewMax`. */
  count(index: Index, ranges: readonly KeyRange[]): number;
  ids(collection: number, walk: IdWalk): Iterable<FoundText>;
  keys(collection: number, walk: KeyWalk): Iterable<FoundText>;
  explain(walk: "ids" | "index", descending: boolean): string[];
  body(collection: number, id: string): string | undefined;
  /** The change that a document of it was last written by; 0 without any. */
  lastChange(collection: number): number;
  /** Every document that was written since, once, as it is now; null: it is not there. */
  changed(collection: number, since: number): Iterable<Changed>;
}

/** The documents of one collection of this store. */
export const sourceOf = (reads: Reads, collection: number): QuerySource<FoundText> => ({
  isById: true,
  indexes: () => reads.indexes(collection),
  count: (index, ranges) => reads.count(index, ranges),
  ids: (walk) => reads.ids(collection, walk),
  keys: (walk) => reads.keys(collection, walk),
  found(id) {
    const body = reads.body(collection, id);
    return body === undefined ? undefined : foundText(id, body);
  },
  subjectOf: subjectOfText,
  explain: (walk, descending) => reads.explain(walk, descending),
});

export const foundText = (id: string, body: string): FoundText => ({
  id,
  body,
  bytes: body.length,
});
export const subjectOfText = ({ id, body }: { id: string; body: string }): Subject => ({
  id,
  body: JSON.parse(body) as Json,
});

// Text compares below every blob: an empty one is above all ids.
const top = new Uint8Array(0);
const idsUp = `SELECT id, body FROM document
  WHERE collection = ? AND id >= ? AND id <= ? AND body IS NOT NULL ORDER BY id`;
const idsDown = `${idsUp} DESC`;
const keysOf = (within: string, order: string) => `SELECT k.key, d.id, d.body
  FROM document_key k CROSS JOIN document d ON d.collection = ? AND d.id = k.id
  WHERE k.number = ? AND ${within} ORDER BY ${order}`;
const keysUp = keysOf("(k.key, k.id) > (?, ?) AND k.key <= ?", "k.key, k.id");
const keysDown = keysOf("(k.key, k.id) < (?, ?) AND k.key >= ?", "k.key DESC, k.id DESC");

export function createReads(db: Database): Reads {
  const findCollection = db.prepare("SELECT id, documents FROM collection WHERE name = ?");
  const findIndexes = db.prepare(
    "SELECT number, path FROM document_index WHERE collection = ? AND state = 'whole' ORDER BY number",
  );
  const countKeys = db.prepare(
    `SELECT count(*) AS found FROM
       (SELECT 1 FROM document_key WHERE number = ? AND key >= ? AND key <= ? LIMIT ?)`,
  );
  const findBody = db.prepare("SELECT body FROM document WHERE collection = ? AND id = ?");
  const findLast = db.prepare("SELECT max(change) AS last FROM document WHERE collection = ?");
  const findChanged = db.prepare(
    "SELECT id, body FROM document WHERE collection = ? AND change > ? ORDER BY change",
  );
  const walks = { ids: [idsUp, idsDown], index: [keysUp, keysDown] } as const;
  const prepared = {
    ids: walks.ids.map((sql) => db.prepare(sql)),
    index: walks.index.map((sql) => db.prepare(sql)),
  };
  const statement = (walk: "ids" | "index", descending: boolean): Statement =>
    prepared[walk][descending ? 1 : 0] as Statement;
  const found = function* (rows: Iterable<Record<string, unknown>>): Generator<FoundText> {
    for (const { id, body } of rows) yield foundText(String(id), String(body));
  };

  return {
    collection(name) {
      const row = findCollection.get(name);
      return row && { number: Number(row["id"]), documents: Number(row["documents"]) };
    },
    indexes: (collection) =>
      findIndexes.all(collection).flatMap((row) => {
        const path = parsePath(String(row["path"]));
        return path ? [{ number: Number(row["number"]), path }] : [];
      }),
    count({ number }, ranges) {
      let sum = 0;
      for (const { low, high } of ranges) {
        if (sum >= fewMax) break;
        sum += Number(countKeys.get(number, low, high, fewMax)?.["found"]);
      }
      return sum;
    },
    *ids(collection, { low = "", high, after, descending }) {
      const from = !descending && after !== undefined ? after : low;
      const to = descending && after !== undefined ? after : (high ?? top);
      const isBetween = (id: string) => id !== after;
      for (const row of found(statement("ids", descending).iterate(collection, from, to)))
        if (isBetween(row.id)) yield row;
    },
    *keys(collection, { index, range: { low, high }, after, descending }) {
      const [near, far] = descending ? [high, low] : [low, high];
      const from = [after?.key ?? near, after?.id ?? (descending ? top : "")] as const;
      yield* found(statement("index", descending).iterate(collection, index, ...from, far));
    },
    body(collection, id) {
      const body = findBody.get(collection, id)?.["body"];
      return typeof body === "string" ? body : undefined;
    },
    lastChange: (collection) => Number(findLast.get(collection)?.["last"] ?? 0),
    *changed(collection, since) {
      for (const { id, body } of findChanged.iterate(collection, since))
        yield { id: String(id), body: typeof body === "string" ? body : null };
    },
    explain: (walk, descending) =>
      db
        .prepare(`EXPLAIN QUERY PLAN ${walks[walk][descending ? 1 : 0]}`)
        .all()
        .map((row) => String(row["detail"])),
  };
}

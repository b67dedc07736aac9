/**
 * The hub's copies of one collection as queries walk them: cell by cell, each by id or along an index;
 * where the order of an index is the order of the answer, merged. Statements are those of both stores.
 */
import { parsePath } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { SqlDatabase } from "../../runtime/sqlite/index.ts";
import type { KeyRange } from "../queries/keys.ts";
import { cellField, nameCell } from "../queries/evaluate.ts";
import { fewMax, idTop } from "../queries/plan.ts";
import { foundText, subjectOfText, type FoundText } from "../queries/reads.ts";
import type { KeyWalk, QuerySource } from "../queries/source.ts";
import { compareText } from "../queries/values.ts";

/** Of one cell, as the tables know it; `cell` is empty for the hub's own. */
export type Copy = { readonly cell: string; readonly number: number; readonly documents: number };
export type CopyReads = ReturnType<typeof createCopyReads>;

/** Rows that are read at a time; of keys fewer at first, for an answer may need a few of each cell. */
const pieceRows = 256;
const firstKeys = 32;

type Row = { readonly id: string; readonly body: string };
type KeyRow = Row & { readonly key: Buffer };
/** From behind this place on, in the direction of the walk. */
type CopyWalk = {
  readonly index: number;
  readonly from: { readonly key: Buffer; readonly id: string };
  /** The last key of it, included. */
  readonly to: Buffer;
  readonly descending: boolean;
};

export function createCopyReads(db: SqlDatabase) {
  const isPublished = db.prepare("SELECT name FROM published WHERE name = ?");
  const published = db.prepare(
    `SELECT f.cell AS cell, c.id AS number, c.documents AS documents
     FROM published_feed f JOIN collection c ON c.name = 'p' || f.id
     WHERE f.collection = ? AND f.cell = ?`,
  );
  const sent = db.prepare(
    `SELECT f.cell AS cell, c.id AS number, c.documents AS documents
     FROM feed f LEFT JOIN collection c ON c.name = CAST(f.id AS TEXT)
     WHERE f.state = 'live' AND f.collection = ? ORDER BY f.cell`,
  );
  const names = db.prepare(
    "SELECT collection FROM feed WHERE state = 'live' UNION SELECT name FROM published",
  );
  const walk = db.prepare(
    `SELECT id, body FROM document WHERE collection = ? AND id >= ? AND body IS NOT NULL
     ORDER BY id LIMIT ${pieceRows}`,
  );
  const one = db.prepare("SELECT body FROM document WHERE collection = ? AND id = ?");
  const indexes = db.prepare(
    "SELECT number, collection, path FROM document_index WHERE state = 'whole' ORDER BY number",
  );
  const count = db.prepare(
    `SELECT count(*) AS found FROM
       (SELECT 1 FROM document_key WHERE number = ? AND key >= ? AND key <= ? LIMIT ?) AS part`,
  );
  // Keys first, as many as are asked for: of what a database may join in another order, none is read.
  const keysBy = (within: string, order: string) =>
    db.prepare(
      `SELECT k.key AS key, d.id AS id, d.body AS body FROM
         (SELECT key, id FROM document_key WHERE number = ? AND ${within}
          ORDER BY ${order} LIMIT ?) AS k
       JOIN document d ON d.collection = ? AND d.id = k.id
       ORDER BY ${order.replaceAll(/\b(key|id)\b/g, "k.$1")}`,
    );
  const up = keysBy("(key, id) > (?, ?) AND key <= ?", "key, id");
  const down = keysBy("(key, id) < (?, ?) AND key >= ?", "key DESC, id DESC");
  const copyOf = (row: Record<string, unknown>): Copy => ({
    cell: String(row["cell"]),
    // No collection yet: none of its documents is here.
    number: Number(row["number"] ?? -1),
    documents: Number(row["documents"] ?? 0),
  });
  return {
    names: () => names.all().map((row) => String(row["collection"])),
    /** Undefined: there is no such collection. */
    copies(collection: string, cell: string | undefined): readonly Copy[] | undefined {
      if (isPublished.get(collection)) return published.all(collection, cell ?? "").map(copyOf);
      const copies = sent.all(collection).map(copyOf);
      if (copies.length === 0) return undefined;
      return cell === undefined ? copies : copies.filter((copy) => copy.cell === cell);
    },
    /** Those that are whole, of all collections. */
    indexes: () =>
      indexes.all().map((row) => ({
        number: Number(row["number"]),
        collection: Number(row["collection"]),
        pointer: String(row["path"]),
      })),
    count: (index: number, { low, high }: KeyRange): number =>
      Number(count.get(index, low, high, fewMax)?.["found"]),
    /** Those at and behind `from`, by id. */
    *ids(number: number, from: string): Generator<Row> {
      for (let next = from, skips = false; ;) {
        const rows = walk.all(number, next);
        for (const row of rows) {
          const [id, body] = [String(row["id"]), String(row["body"])];
          if (!(skips && id === next)) yield { id, body };
        }
        if (rows.length < pieceRows) return;
        next = String(rows.at(-1)?.["id"]);
        skips = true;
      }
    },
    *keys(number: number, { index, from, to, descending }: CopyWalk): Generator<KeyRow> {
      let { key, id } = from;
      for (let rowsMax = firstKeys; ; rowsMax = pieceRows) {
        const rows = (descending ? down : up).all(index, key, id, to, rowsMax, number);
        for (const row of rows) {
          key = bytesOf(row["key"]);
          id = String(row["id"]);
          yield { key, id, body: String(row["body"]) };
        }
        if (rows.length < rowsMax) return;
      }
    },
    body(number: number, id: string): string | undefined {
      const body = one.get(number, id)?.["body"];
      return typeof body === "string" ? body : undefined;
    },
  };
}

/** As a connection in another thread gives them. */
function bytesOf(value: unknown): Buffer {
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw new SkerryError({ code: "internal", message: "a key of an index is no bytes" });
}

/** A place among the documents of all cells; a cell's name has no such character. */
const separator = "\0";
const placeOf = (cell: string, id: string) => `${cell}${separator}${id}`;
function cellAndId(place: string): readonly [cell: string, id: string] {
  const at = place.indexOf(separator);
  return [place.slice(0, Math.max(0, at)), place.slice(at + 1)];
}

type GlobalFound = FoundText & { readonly cell: string };
type FoundByKey = GlobalFound & { readonly key: Buffer };

export function walkOf(reads: CopyReads, copies: readonly Copy[]): QuerySource<GlobalFound> {
  let shared: ReturnType<typeof sharedIndexes> | undefined;
  const indexes = () => (shared ??= sharedIndexes(reads, copies));
  const foundIn = ({ cell }: Copy, { id, body }: Row): GlobalFound => ({
    ...foundText(id, body),
    cell,
  });
  /** One copy's part of a walk over keys, behind a place in all of them. */
  const keysOf = function* (copy: Copy, walk: Omit<KeyWalk, "ordered">): Generator<FoundByKey> {
    const { range, after, descending } = walk;
    const index = indexes()[walk.index]?.byCopy.get(copy.number);
    if (index === undefined) return;
    const [near, to] = descending ? [range.high, range.low] : [range.low, range.high];
    const [afterCell, afterId] = cellAndId(after?.id ?? separator);
    const order = after ? compareText(copy.cell, afterCell) * (descending ? -1 : 1) : 1;
    const [first, last] = descending ? [idTop, ""] : ["", idTop];
    const id = order === 0 ? afterId : order > 0 ? first : last;
    const from = { key: after?.key ?? near, id };
    for (const row of reads.keys(copy.number, { index, from, to, descending }))
      yield { ...foundIn(copy, row), key: row.key };
  };

  return {
    isById: false,
    indexes: () =>
      indexes().flatMap(({ pointer }, number) => {
        const path = parsePath(pointer);
        return path ? [{ number, path }] : [];
      }),
    count({ number }, ranges) {
      let sum = 0;
      for (const index of indexes()[number]?.byCopy.values() ?? [])
        for (const range of ranges) {
          if (sum >= fewMax) return sum;
          sum += reads.count(index, range);
        }
      return sum;
    },
    *keys({ ordered, ...walk }) {
      const { low, high } = walk.range;
      const parts = copies.map((copy) => ({ copy, rows: () => keysOf(copy, walk) }));
      // Of one key, the order of cells and ids is the order of the answer.
      if (ordered && !low.equals(high)) {
        yield* merged(
          parts.map(({ rows }) => rows()),
          walk.descending,
        );
        return;
      }
      const afterCell = walk.after ? cellAndId(walk.after.id)[0] : undefined;
      for (const { copy, rows } of walk.descending ? parts.toReversed() : parts) {
        const order = afterCell === undefined ? 0 : compareText(copy.cell, afterCell);
        if (walk.descending ? order <= 0 : order >= 0) yield* rows();
      }
    },
    explain: () => [],
    subjectOf({ id, body, cell }) {
      const subject = subjectOfText({ id, body });
      nameCell(subject.body, cell);
      const beside = cell === "" ? {} : { beside: { cell } };
      return { ...subject, ...beside, place: placeOf(cell, id) };
    },
    found(place) {
      const [cell, id] = cellAndId(place);
      const copy = copies.find((each) => each.cell === cell);
      const body = copy && reads.body(copy.number, id);
      return copy && body !== undefined ? foundIn(copy, { id, body }) : undefined;
    },
    *ids({ low = "", high, after }) {
      const [afterCell, afterIn] = cellAndId(after ?? separator);
      for (const copy of copies) {
        if (after !== undefined && compareText(copy.cell, afterCell) < 0) continue;
        const afterId = after !== undefined && copy.cell === afterCell ? afterIn : "";
        const from = compareText(afterId, low) > 0 ? afterId : low;
        for (const found of reads.ids(copy.number, from)) {
          if (high !== undefined && compareText(found.id, high) > 0) break;
          if (found.id !== afterId) yield foundIn(copy, found);
        }
      }
    },
  };
}

/** An index that all copies have: of each copy, its number in the tables. */
function sharedIndexes(reads: CopyReads, copies: readonly Copy[]) {
  const filled = copies.filter(({ documents }) => documents > 0);
  const byPointer = new Map<string, Map<number, number>>();
  for (const { number, collection, pointer } of reads.indexes()) {
    if (!filled.some((copy) => copy.number === collection)) continue;
    const byCopy = byPointer.get(pointer) ?? new Map<number, number>();
    byPointer.set(pointer, byCopy.set(collection, number));
  }
  return [...byPointer]
    .map(([pointer, byCopy]) => ({ pointer, byCopy }))
    .filter(
      ({ pointer, byCopy }) =>
        // The name of the cell stands beside a body and in no index of it.
        byCopy.size === filled.length && parsePath(pointer)?.[0] !== cellField,
    );
}

/** By key, then by cell and id: each part comes in that order. */
function* merged(
  parts: readonly Generator<FoundByKey>[],
  descending: boolean,
): Generator<GlobalFound> {
  const heads = parts.flatMap((rows) => {
    const step = rows.next();
    return step.done ? [] : [{ rows, found: step.value }];
  });
  const isBefore = (a: (typeof heads)[number], b: (typeof heads)[number]) => {
    const order =
      Buffer.compare(a.found.key, b.found.key) ||
      compareText(placeOf(a.found.cell, a.found.id), placeOf(b.found.cell, b.found.id));
    return descending ? order > 0 : order < 0;
  };
  while (heads.length > 0) {
    let first = 0;
    for (let at = 1; at < heads.length; at++) {
      const [one, other] = [heads[at], heads[first]];
      if (one && other && isBefore(one, other)) first = at;
    }
    const head = heads[first];
    if (!head) return;
    yield head.found;
    const step = head.rows.next();
    if (step.done) heads.splice(first, 1);
    else head.found = step.value;
  }
}

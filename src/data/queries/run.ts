/**
 * One query over documents, in a snapshot. A generator: it yields after each piece of work, so that
 * its owner can let others in between, and ends when its time is over. What came out in the order of
 * the answer is then a page like any other; what would need the rest is refused (Q4).
 */
import { pointerOf, valueAtPath, type Path } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { withValue, type JsonObject } from "../documents/json.ts";
import { createGroups } from "./aggregate.ts";
import { decodeCursor, encodeCursor, fingerprint, type Place } from "./cursor.ts";
import { compile, type Predicate, type Subject } from "./evaluate.ts";
import { planQuery, type Plan } from "./plan.ts";
import type { DocumentsShape, Explained, Query, QueryPage, Shape, SortKey } from "./query.ts";
import type { Found, QuerySource } from "./source.ts";
import { compareText, sortKey } from "./values.ts";

export type Asked = {
  readonly collection: string;
  /** That it has. */
  readonly documents: number;
  readonly query: Query;
  /** Whether its time is over. */
  readonly isOver: () => boolean;
};

/** Of rows in one answer: one is begun while it has less. */
export const pageBytesMax = 4 * 1024 * 1024;
/** Between two yields. */
const pieceRows = 64;
const pieceBytes = 256 * 1024;

/** Throws `invalid-cursor`, `query-too-dear`. */
export function* runQuery<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
): Generator<void, QueryPage> {
  const { query } = asked;
  const plan = planOf(source, asked);
  const looked = { rows: 0 };
  const page =
    query.shape.rows === "groups"
      ? yield* groupsOf(source, asked, { plan, shape: query.shape, looked })
      : yield* pageOf(source, asked, { plan, shape: query.shape, looked });
  return query.explain ? { ...page, explain: explained(source, plan, looked.rows) } : page;
}

/**
 * Up to `limit` documents in the order of the answer behind a place, with their places; `isLast`:
 * nothing is behind them. Throws `query-too-dear` where a page would end with less than `least`.
 */
export function* readWindow<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
  { shape, after, least }: { shape: DocumentsShape; after?: Place; least: number },
): Generator<void, { readonly rows: readonly PlacedRow[]; readonly isLast: boolean }> {
  const plan = planOf(source, asked);
  const looked = { rows: 0 };
  const { rows, end } = yield* documentsOf(source, asked, { plan, shape, looked }, after);
  if (end === "time" && rows.length < least) throw tooDear(asked, looked.rows);
  if (end === "bytes" && rows.length < least) throw tooLarge("the result");
  return { rows, isLast: end === "last" };
}

function planOf<F extends Found>(source: QuerySource<F>, { query }: Asked): Plan {
  const plan = planQuery(query, {
    indexes: source.indexes(),
    count: (index, ranges) => source.count(index, ranges),
  });
  const [sort] = query.shape.rows === "documents" ? query.shape.sort : [];
  // Along an index of a field they come in the order of the answer, by id in another.
  const isAlong = plan.walk === "index" && sort !== undefined && sort.path.length > 0;
  return source.isById || !sort || isAlong ? plan : { ...plan, ordered: false, descending: false };
}

type Work<Rows extends Shape["rows"]> = {
  readonly plan: Plan;
  readonly shape: Shape & { rows: Rows };
  readonly looked: { rows: number };
};

function* groupsOf<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
  { plan, shape, looked }: Work<"groups">,
): Generator<void, QueryPage> {
  const holds = compile(asked.query.where);
  const groups = createGroups(shape.by, shape.aggregates);
  for (const found of walk(source, plan)) {
    const subject = source.subjectOf(found);
    if (holds(subject)) groups.add(subject);
    if (!isPieceDone(looked, found)) continue;
    yield;
    if (asked.isOver()) throw tooDear(asked, looked.rows);
  }
  const all = groups.all();
  const { limit } = asked.query;
  if (all.length > limit) {
    throw new SkerryError({
      code: "query-too-dear",
      message: `${all.length} groups, and limit is ${limit}`,
      hint: "raise limit (at most 1000), or narrow where",
    });
  }
  return { rows: all.map((group) => JSON.stringify(group)) };
}

function* pageOf<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
  work: Work<"documents">,
): Generator<void, QueryPage> {
  const { query, collection } = asked;
  const of = fingerprint(collection, query);
  const after = query.cursor === undefined ? undefined : decodeCursor(of, query.cursor);
  const { rows, end, at } = yield* documentsOf(source, asked, work, after);
  const last = end === "last" ? undefined : (at ?? rows.at(-1)?.place);
  return {
    rows: rows.map(({ row }) => row),
    ...(last ? { cursor: encodeCursor(of, last) } : {}),
  };
}

/** A row as JSON, and where it stands in the order of the answer. */
export type PlacedRow = { readonly row: string; readonly place: Place };
type Collected = {
  readonly rows: readonly PlacedRow[];
  /** Why it ends here; `last`: there is nothing more. */
  readonly end: "last" | "limit" | "bytes" | "time";
  /** What was looked at last, where time was over. */
  readonly at?: Place;
};

function* documentsOf<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
  { plan, shape, looked }: Work<"documents">,
  after: Place | undefined,
): Generator<void, Collected> {
  const { query } = asked;
  const { sort, fields } = shape;
  const holds = compile(query.where);
  const placeOf = placing(sort);
  const rows: PlacedRow[] = [];
  let bytes = 0;
  const add = (subject: Subject, place: Place) => {
    const row = rowOf(subject, fields);
    rows.push({ row, place });
    bytes += row.length;
  };

  if (plan.ordered) {
    for (const found of walk(source, plan, after)) {
      const subject = source.subjectOf(found);
      if (holds(subject)) {
        if (rows.length >= query.limit) return { rows, end: "limit" };
        if (bytes >= pageBytesMax) return { rows, end: "bytes" };
        add(subject, placeOf(subject));
      }
      if (!isPieceDone(looked, found)) continue;
      yield;
      if (asked.isOver()) return { rows, end: "time", at: placeOf(subject) };
    }
    return { rows, end: "last" };
  }
  const best = yield* firstOf(source, asked, { plan, holds, sort, after, looked });
  for (const place of best.slice(0, query.limit)) {
    if (bytes >= pageBytesMax) return { rows, end: "bytes" };
    const found = source.found(place.id);
    if (found) add(source.subjectOf(found), place);
  }
  return { rows, end: best.length > query.limit ? "limit" : "last" };
}

/** The first places behind the cursor in the order of the answer, one more than asked for. */
function* firstOf<F extends Found>(
  source: QuerySource<F>,
  asked: Asked,
  on: {
    plan: Plan;
    holds: Predicate;
    sort: readonly SortKey[];
    after: Place | undefined;
    looked: { rows: number };
  },
): Generator<void, readonly Place[]> {
  const { plan, holds, sort, after, looked } = on;
  const placeOf = placing(sort);
  const compare = ordering(sort);
  const wanted = asked.query.limit + 1;
  let best: Place[] = [];
  const cut = () => (best = best.sort(compare).slice(0, wanted));
  for (const found of walk(source, plan)) {
    const subject = source.subjectOf(found);
    if (holds(subject)) {
      const place = placeOf(subject);
      if (!after || compare(place, after) > 0) best.push(place);
      if (best.length >= 2 * wanted + pieceRows) cut();
    }
    if (!isPieceDone(looked, found)) continue;
    yield;
    if (asked.isOver()) throw tooDear(asked, looked.rows);
  }
  return cut();
}

function* walk<F extends Found>(source: QuerySource<F>, plan: Plan, after?: Place): Generator<F> {
  const { descending, ordered } = plan;
  if (plan.walk === "ids") {
    const from = after ? { after: after.id } : {};
    yield* source.ids({ ...plan.ids, ...from, descending });
    return;
  }
  for (const range of plan.ranges) {
    const [key] = after?.keys ?? [];
    const from = after && {
      after: { id: after.id, key: key ? Buffer.concat([Buffer.of(0x01), key]) : range.low },
    };
    yield* source.keys({ index: plan.index.number, range, ...from, descending, ordered });
  }
}

/** Asked for each document, so it is no generator itself. */
function isPieceDone(looked: { rows: number; bytes?: number }, { bytes }: Found): boolean {
  looked.rows++;
  looked.bytes = (looked.bytes ?? 0) + bytes;
  if (looked.rows % pieceRows !== 0 && looked.bytes < pieceBytes) return false;
  looked.bytes = 0;
  return true;
}

export const placing =
  (sort: readonly SortKey[]) =>
  (subject: Subject): Place => ({
    id: subject.place ?? subject.id,
    keys: sort.map(({ path }) => sortKey(valueAtPath(subject, path))),
  });

/** By the keys, then by id, in the direction of the last key: total, and the same on every node (Q2). */
export function orderingBy<Key>(
  sort: readonly SortKey[],
  compareKeys: (a: Key | undefined, b: Key | undefined) => number,
): (a: PlacedBy<Key>, b: PlacedBy<Key>) => number {
  const isDown = sort.at(-1)?.descending ?? false;
  return (a, b) => {
    for (const [at, { descending }] of sort.entries()) {
      const order = compareKeys(a.keys[at], b.keys[at]);
      if (order !== 0) return descending ? -order : order;
    }
    return isDown ? compareText(b.id, a.id) : compareText(a.id, b.id);
  };
}
type PlacedBy<Key> = { readonly id: string; readonly keys: readonly Key[] };
export const ordering = (sort: readonly SortKey[]): ((a: Place, b: Place) => number) =>
  orderingBy<Buffer>(sort, (a = nothing, b = nothing) => Buffer.compare(a, b));

const nothing = Buffer.alloc(0);

export const rowOf = (subject: Subject, fields: readonly Path[] | undefined): string =>
  JSON.stringify({
    ...subject.beside,
    id: subject.id,
    body: fields ? projected(subject, fields) : subject.body,
  });

/** Only these fields, where they stand; elements of an array under their number. */
export function projected(subject: Subject, fields: readonly Path[]): JsonObject {
  let body: JsonObject = {};
  for (const path of fields) {
    const value = path.length === 0 ? undefined : valueAtPath(subject, path);
    if (value !== undefined) body = withValue(body, path, value);
  }
  return body;
}

function explained<F extends Found>(source: QuerySource<F>, plan: Plan, looked: number): Explained {
  return {
    plan: `${plan.words}${plan.ordered ? ", in the order of the answer" : ", sorted or gathered in memory"}`,
    indexes: plan.walk === "index" ? [pointerOf(plan.index.path)] : [],
    sqlite: source.explain(plan.walk, plan.descending),
    looked,
  };
}

export const tooLarge = (what: string) =>
  new SkerryError({
    code: "query-too-dear",
    message: `${what} is larger than ${pageBytesMax / 1024 / 1024} MiB`,
    hint: "lower limit, or name the fields that are needed",
  });

const tooDear = ({ documents, query }: Asked, looked: number) =>
  new SkerryError({
    code: "query-too-dear",
    message: `after ${query.timeoutMs} ms ${looked} of ${documents} documents had been looked at`,
    hint: "declare an index (spec.indexes of the Collection) on a field of where or sort, narrow where, or raise timeoutMs; explain shows how it was looked for",
  });

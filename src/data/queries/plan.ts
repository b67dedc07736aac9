/**
 * How a query walks: by id, along an index in its order, or over the ranges of an index that hold
 * everything that can match. Pure, but for `count`, which looks how much lies in ranges, up to a
 * bound: a guess from real numbers instead of statistics that grow old. A plan decides how much is
 * looked at and never what is answered: every candidate is asked (Q1).
 */
import { pointerOf, type Path } from "../../api/records/index.ts";
import { everyValue, intersect, rangesOf, type KeyRange } from "./keys.ts";
import type { Condition, Index, Query } from "./query.ts";

export type Plan = {
  /** Documents come in the order of the answer: what is not needed is not looked at. */
  readonly ordered: boolean;
  readonly descending: boolean;
  readonly words: string;
} & (
  | { readonly walk: "ids"; readonly ids: IdRange }
  | { readonly walk: "index"; readonly index: Index; readonly ranges: readonly KeyRange[] }
);

/** Both included; absent: open. */
export type IdRange = { readonly low?: string; readonly high?: string };

/** Candidates that are rather fetched and sorted than walked to along another order. */
export const fewMax = 2000;

/** Greater than every id: they have at most 256 bytes. */
export const idTop = "\u{10FFFF}".repeat(64);

export function planQuery(
  query: Pick<Query, "where" | "shape">,
  known: {
    readonly indexes: readonly Index[];
    /** How many entries lie in these ranges, counted up to `fewMax`. */
    count(index: Index, ranges: readonly KeyRange[]): number;
  },
): Plan {
  const conditions = conjuncts(query.where);
  const sort = query.shape.rows === "documents" ? query.shape.sort : undefined;
  const [first] = sort ?? [];
  const byId = sort !== undefined && (!first || (sort.length === 1 && first.path.length === 0));
  const descending = (sort?.length === 1 && first?.descending) ?? false;
  const ids = idRange(conditions);
  if (ids.low !== undefined && ids.low === ids.high)
    return { walk: "ids", ids, ordered: byId, descending: false, words: "the document of that id" };

  const candidates = known.indexes
    .flatMap((index) =>
      rangesBy(conditions, index.path).map((ranges) => ({
        index,
        ranges,
        count: known.count(index, ranges),
      })),
    )
    .sort((a, b) => a.count - b.count);
  const [best] = candidates;
  const sorting =
    sort?.length === 1 && first
      ? known.indexes.find(({ path }) => isEqualPath(path, first.path))
      : undefined;

  if (best && best.count < fewMax) return overRanges(best, { byId, descending });
  if (sorting) {
    const own = candidates.find(
      ({ index, ranges }) => index === sorting && ranges.length === 1 && isOfValues(ranges),
    );
    return {
      walk: "index",
      index: sorting,
      ranges: own?.ranges ?? [everyValue],
      ordered: true,
      descending,
      words: `in the order of the index on ${pointerOf(sorting.path)}${own ? ", a range of it" : ""}`,
    };
  }
  // Many candidates: where the order of ids is asked for, the first page is found sooner along it,
  // unless they stand in that order.
  if (best && (!byId || isOneKey(best.ranges))) return overRanges(best, { byId, descending });
  const words =
    ids.low === undefined && ids.high === undefined ? "all documents" : "a range of ids";
  return { walk: "ids", ids, ordered: byId, descending: byId && descending, words };
}

function overRanges(
  { index, ranges }: { index: Index; ranges: readonly KeyRange[] },
  { byId, descending }: { byId: boolean; descending: boolean },
): Plan {
  const count = ranges.length === 1 ? "a range" : `${ranges.length} ranges`;
  const words = `${count} of the index on ${pointerOf(index.path)}`;
  const ordered = byId && isOneKey(ranges);
  return { walk: "index", index, ranges, ordered, descending: ordered && descending, words };
}

/** Within one key documents stand in the order of their ids. */
const isOneKey = (ranges: readonly KeyRange[]): boolean =>
  ranges.length === 1 && ranges.every(({ low, high }) => low.equals(high));

const isOfValues = (ranges: readonly KeyRange[]): boolean =>
  ranges.every(({ low }) => low[0] === everyValue.low[0]);

/** What must all hold. */
function conjuncts(condition: Condition | undefined): readonly Condition[] {
  if (!condition) return [];
  return condition.op === "and" ? condition.of.flatMap(conjuncts) : [condition];
}

/** Each a way to find all that can match; what is asked of one value together, of elements apart. */
function rangesBy(conditions: readonly Condition[], path: Path): (readonly KeyRange[])[] {
  const ways: (readonly KeyRange[])[] = [];
  let ofValue: readonly KeyRange[] | undefined;
  for (const condition of conditions) {
    if (!("path" in condition) || !isEqualPath(condition.path, path)) continue;
    const ranges = rangesOf(condition);
    if (!ranges) continue;
    if (condition.op === "contains") ways.push(ranges);
    else ofValue = ofValue ? (intersect(ofValue, ranges) ?? ofValue) : ranges;
  }
  return ofValue ? [...ways, ofValue] : ways;
}

function idRange(conditions: readonly Condition[]): IdRange {
  let low: string | undefined;
  let high: string | undefined;
  const atLeast = (id: string) => (low = low === undefined || isBelow(low, id) ? id : low);
  const atMost = (id: string) => (high = high === undefined || isBelow(id, high) ? id : high);
  for (const condition of conditions) {
    if (!("path" in condition) || condition.path.length > 0 || !("value" in condition)) continue;
    const { op, value } = condition;
    // What is no whole text is no id, and would come out of SQLite as another.
    if (typeof value !== "string" || !value.isWellFormed()) continue;
    if (op === "=" || op === ">" || op === ">=" || op === "prefix") atLeast(value);
    if (op === "=" || op === "<" || op === "<=") atMost(value);
    if (op === "prefix") atMost(value + idTop);
  }
  return { ...(low === undefined ? {} : { low }), ...(high === undefined ? {} : { high }) };
}

/** As SQLite compares text: by the bytes of UTF-8. */
const isBelow = (a: string, b: string): boolean =>
  Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;

export const isEqualPath = (a: Path, b: Path): boolean =>
  a.length === b.length && a.every((name, at) => name === b[at]);

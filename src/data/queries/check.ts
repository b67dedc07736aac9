/** Requests as they come over HTTP become queries; every complaint names the field (`invalid-query`). */
import { parsePath, type Path } from "../../api/records/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isObject, type Json, type JsonObject } from "../documents/json.ts";
import { parseExpression } from "./expression.ts";
import type { EntriesQuery } from "./entries.ts";
import type { Aggregate, Condition, Measure, Named, Query, Shape, SortKey } from "./query.ts";

export const rowsPerPageMax = 1000;
const rowsDefault = 100;
const timeoutMsDefault = 2000;
export const timeoutMsMax = 30_000;
const conditionsMax = 200;
const depthMax = 32;
const valuesMax = 1000;
const sortKeysMax = 8;
const fieldsMax = 200;
const aggregatesMax = 32;
const measures = ["count", "sum", "min", "max", "avg"] as const;

/** What names there are beside those of the request; streams have more than documents. */
export type Allowed = { readonly names: readonly string[]; readonly measures: readonly Measure[] };
const ofDocuments: Allowed = {
  names: "where sort fields limit cursor aggregate by timeoutMs explain live".split(" "),
  measures,
};

/** Throws `invalid-query`. */
export function checkQuery(request: Json | undefined): Query {
  const { given, part } = checkNames(request, ofDocuments);
  const aggregates = checkAggregates(given["aggregate"], ofDocuments);
  const by = checkBy(given["by"]);
  const sort = texts("sort", given["sort"], sortKeysMax).map(checkSortKey);
  const fields = given["fields"] === undefined ? undefined : checkFields(given["fields"]);
  const isGrouped = aggregates.length > 0 || by.length > 0;
  if (isGrouped && (sort.length > 0 || fields))
    throw invalid(sort.length > 0 ? "sort" : "fields", "does not go with aggregate and by");
  const shape: Shape = isGrouped
    ? { rows: "groups", by, aggregates: aggregates.length > 0 ? aggregates : [countAll] }
    : { rows: "documents", sort, ...(fields ? { fields } : {}) };
  return { ...part, shape };
}

/** Whether a request wants to be told of differences; what does not go with that is refused. */
export function isLiveQuery(request: Json | undefined, { shape, cursor, explain }: Query): boolean {
  if (!isObject(request) || request["live"] !== true) return false;
  if (shape.rows === "groups")
    throw invalid(
      "live",
      "does not go with aggregate and by: live queries answer documents, by where, sort, fields and limit",
    );
  if (cursor !== undefined || explain)
    throw invalid("live", `does not go with ${explain ? "explain" : "cursor"}`);
  return true;
}

/** What queries of documents and of streams have in common. */
export function checkNames(
  request: Json | undefined,
  allowed: Allowed,
): { given: JsonObject; part: Omit<Query, "shape"> } {
  const given = request ?? {};
  if (!isObject(given)) throw invalid("body", 'must be an object such as {"where":"total > 100"}');
  for (const name of Object.keys(given)) {
    if (!allowed.names.includes(name))
      throw invalid(name, `is not known here; known are ${allowed.names.join(", ")}`);
  }
  const { where, cursor, explain, live } = given;
  if (live !== undefined && typeof live !== "boolean")
    throw invalid("live", "must be true or false");
  if (explain !== undefined && typeof explain !== "boolean")
    throw invalid("explain", "must be true or false");
  if (cursor !== undefined && typeof cursor !== "string") throw invalid("cursor", "must be text");
  const limit = whole("limit", given["limit"], rowsPerPageMax) ?? rowsDefault;
  const timeoutMs = whole("timeoutMs", given["timeoutMs"], timeoutMsMax) ?? timeoutMsDefault;
  const condition = where === undefined ? undefined : checkWhere(where);
  return {
    given,
    part: {
      ...(condition ? { where: condition } : {}),
      limit,
      timeoutMs,
      explain: explain ?? false,
      ...(cursor === undefined ? {} : { cursor }),
    },
  };
}

const countAll: Aggregate = { label: "count", measure: "count" };

export const checkFields = (given: Json): Path[] =>
  texts("fields", given, fieldsMax).map((text, at) => path(`fields[${at}]`, text));

function checkSortKey(text: string, at: number): SortKey {
  const descending = text.startsWith("-");
  return { path: path(`sort[${at}]`, descending ? text.slice(1) : text), descending };
}

export function checkBy(given: Json | undefined): Named[] {
  return texts("by", given, fieldsMax).map((label, at) => ({
    label,
    path: path(`by[${at}]`, label),
  }));
}

/** `count`, `count(total)`, `sum(total)`, … */
export function checkAggregates(given: Json | undefined, allowed: Allowed): Aggregate[] {
  const seen = new Set<string>();
  return texts("aggregate", given, aggregatesMax).map((label, at) => {
    const where = `aggregate[${at}]`;
    if (seen.has(label)) throw invalid(where, `"${label}" is there twice`);
    seen.add(label);
    const [, name, inner] = /^(\w+)(?:\((.*)\))?$/s.exec(label.trim()) ?? [];
    const measure = allowed.measures.find((known) => known === name);
    if (!measure || (inner === undefined && measure !== "count"))
      throw invalid(
        where,
        `"${label}" must be count or one of ${allowed.measures.map((known) => `${known}(total)`).join(", ")}`,
      );
    return { label, measure, ...(inner === undefined ? {} : { path: path(where, inner.trim()) }) };
  });
}

const ofEntries: Allowed = {
  names: "where from to fields limit cursor window points aggregate by timeoutMs".split(" "),
  measures: [...measures, "first", "last"],
};

/** Of a stream. Throws `invalid-query`. */
export function checkEntriesQuery(request: Json | undefined): EntriesQuery {
  const { given, part } = checkNames(request, ofEntries);
  const { explain: _explain, ...common } = part;
  const aggregates = checkAggregates(given["aggregate"], ofEntries);
  const by = checkBy(given["by"]);
  const fromMs = checkTime("from", given["from"]) ?? 0;
  const toMs = checkTime("to", given["to"]) ?? Number.MAX_SAFE_INTEGER;
  const windowMs = checkWindow(given, { fromMs, toMs });
  const fields = given["fields"] === undefined ? undefined : checkFields(given["fields"]);
  if (windowMs === undefined && aggregates.length === 0 && by.length === 0)
    return { ...common, fromMs, toMs, shape: { rows: "entries", ...(fields ? { fields } : {}) } };
  if (fields || common.cursor !== undefined)
    throw invalid(fields ? "fields" : "cursor", "does not go with window, aggregate and by");
  if (by.some(({ label }) => label === "window"))
    throw invalid("by", 'of a field of this name is "/window"');
  const measured = aggregates.length > 0 ? aggregates : [countAll];
  return {
    ...common,
    ...(given["limit"] === undefined ? { limit: rowsPerPageMax } : {}),
    fromMs,
    toMs,
    shape: {
      rows: "groups",
      by,
      aggregates: measured,
      ...(windowMs === undefined ? {} : { windowMs }),
    },
  };
}

/** RFC 3339, or milliseconds since 1970. */
export function checkTime(name: string, given: Json | undefined): number | undefined {
  if (given === undefined) return undefined;
  const ms = typeof given === "string" ? Date.parse(given) : given;
  if (Number.isSafeInteger(ms)) return ms as number;
  throw invalid(name, `${JSON.stringify(given)} must be a time such as 2026-01-31T12:00:00Z`);
}

/** `window` says how long one is, `points` how many there may be between `from` and `to`. */
function checkWindow(
  given: JsonObject,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): number | undefined {
  const points = whole("points", given["points"], rowsPerPageMax);
  const { window } = given;
  if (points === undefined) {
    if (window === undefined) return undefined;
    if (typeof window !== "string") throw invalid("window", 'must be text such as "10m"');
    const windowMs = parseDurationMs(window, "window");
    if (Number.isSafeInteger(windowMs) && windowMs >= 1) return windowMs;
    throw invalid("window", `"${window}" must be whole milliseconds, and not 0`);
  }
  if (window !== undefined) throw invalid("points", "does not go with window");
  if (given["from"] === undefined || given["to"] === undefined || toMs <= fromMs)
    throw invalid("points", "needs from, and to behind it");
  if (points === 1) throw invalid("points", "of 1 is no window: leave it out");
  // One may begin before the range: windows begin at multiples of their length.
  return Math.max(1, Math.ceil((toMs - fromMs) / (points - 1)));
}

/** Text, or the same as objects: `{"op":"=","path":"/status","value":"open"}`. */
function checkWhere(given: Json): Condition {
  let left = conditionsMax;
  const check = (inner: Json | undefined, at: string, depth: number): Condition => {
    if (typeof inner === "string" && depth === 0) return check(parseExpression(inner), at, 1);
    if (!isObject(inner)) throw invalid(at, 'must be text, or an object with "op"');
    if (--left < 0) throw invalid(at, `is one condition too many: at most ${conditionsMax}`);
    if (depth > depthMax) throw invalid(at, `is nested more than ${depthMax} deep`);
    const { op } = inner;
    switch (op) {
      case "and":
      case "or":
        return {
          op,
          of: list(`${at}.of`, inner["of"], conditionsMax).map((part, index) =>
            check(part, `${at}.of[${index}]`, depth + 1),
          ),
        };
      case "not":
        return { op, of: check(inner["of"], `${at}.of`, depth + 1) };
      default:
        return checkTest(inner, at);
    }
  };
  return check(given, "where", 0);
}

function checkTest(given: JsonObject, at: string): Condition {
  const { op, value } = given;
  const field = path(`${at}.path`, given["path"]);
  const present = (): Json => {
    if (value === undefined) throw invalid(`${at}.value`, "is missing");
    return value;
  };
  switch (op) {
    case "exists":
      return { op, path: field };
    case "in":
      return { op, path: field, values: list(`${at}.values`, given["values"], valuesMax) };
    case "contains":
    case "=":
    case "!=":
      return { op, path: field, value: present() };
    case "prefix":
      if (typeof value !== "string" || !value.isWellFormed())
        throw invalid(`${at}.value`, "must be text, in whole characters");
      return { op, path: field, value };
    case "<":
    case "<=":
    case ">":
    case ">=":
      if (!["number", "string", "boolean"].includes(typeof present()))
        throw invalid(`${at}.value`, `of ${op} must be a number, text, true or false`);
      return { op, path: field, value: present() };
    default:
      throw invalid(
        `${at}.op`,
        `${JSON.stringify(op)} must be =, !=, <, <=, >, >=, in, contains, prefix, exists, and, or or not`,
      );
  }
}

function path(at: string, text: Json | undefined): Path {
  const found = typeof text === "string" && text.length <= 1000 ? parsePath(text) : undefined;
  if (found) return found;
  throw invalid(
    at,
    `${JSON.stringify(text)?.slice(0, 100)} must be a field such as /total, address.city or id`,
  );
}

function list(at: string, given: Json | undefined, max: number): readonly Json[] {
  if (Array.isArray(given) && given.length <= max) return given as readonly Json[];
  throw invalid(at, `must be a list of at most ${max}`);
}

function texts(at: string, given: Json | undefined, max: number): readonly string[] {
  const found = given === undefined ? [] : list(at, given, max);
  const odd = found.findIndex((text) => typeof text !== "string");
  if (odd >= 0) throw invalid(`${at}[${odd}]`, "must be text");
  return found as readonly string[];
}

export function whole(at: string, given: Json | undefined, max: number): number | undefined {
  if (given === undefined) return undefined;
  if (Number.isSafeInteger(given) && (given as number) >= 1 && (given as number) <= max)
    return given as number;
  throw invalid(
    at,
    `${JSON.stringify(given).slice(0, 40)} must be a whole number from 1 to ${max}`,
  );
}

export const invalid = (field: string, problem: string): SkerryError =>
  new SkerryError({ code: "invalid-query", message: `${field}: ${problem}` });

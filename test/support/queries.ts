/**
 * Queries answered naively: every document looked at, every value compared in the plainest way. Shares
 * nothing with `data/queries` but the words of a request.
 */
import * as fc from "fast-check";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Doc = { id: string; body: { [name: string]: Json } };
export type Where =
  | { op: "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains"; path: string; value: Json }
  | { op: "prefix"; path: string; value: string }
  | { op: "in"; path: string; values: Json[] }
  | { op: "exists"; path: string }
  | { op: "and" | "or"; of: Where[] }
  | { op: "not"; of: Where };
export type Request = {
  where?: Where;
  sort?: string[];
  fields?: string[];
  limit?: number;
  aggregate?: string[];
  by?: string[];
  timeoutMs?: number;
  cursor?: string;
  explain?: boolean;
};

export function get(doc: Doc, path: string): Json | undefined {
  if (path === "id") return doc.id;
  let value: Json | undefined = doc.body;
  for (const name of path.split("/").slice(1)) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as { [name: string]: Json })[name];
  }
  return value;
}

/** Equal as JSON values. */
export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [x, y] = [a as { [name: string]: Json }, b as { [name: string]: Json }];
  const names = Object.keys(x);
  return (
    names.length === Object.keys(y).length &&
    names.every((name) => name in y && equal(x[name], y[name]))
  );
}

const codePoints = (text: string) => Array.from(text, (one) => one.codePointAt(0) ?? 0);

function compareLists(a: number[], b: number[]): number {
  const at = a.findIndex((one, index) => one !== b[index]);
  if (at < 0) return a.length - b.length;
  return at >= b.length ? 1 : (a[at] ?? 0) - (b[at] ?? 0);
}

function less(a: Json | undefined, b: Json): number | undefined {
  if (typeof a !== typeof b) return undefined;
  if (typeof a === "number" && typeof b === "number") return a - b || (a < b ? -1 : a > b ? 1 : 0);
  if (typeof a === "string" && typeof b === "string")
    return compareLists(codePoints(a), codePoints(b));
  if (typeof a === "boolean" && typeof b === "boolean") return Number(a) - Number(b);
  return undefined;
}

export function matches(doc: Doc, where: Where | undefined): boolean {
  if (!where) return true;
  switch (where.op) {
    case "and":
      return where.of.every((one) => matches(doc, one));
    case "or":
      return where.of.some((one) => matches(doc, one));
    case "not":
      return !matches(doc, where.of);
  }
  const value = get(doc, where.path);
  switch (where.op) {
    case "exists":
      return value !== undefined;
    case "in":
      return value !== undefined && where.values.some((one) => equal(one, value));
    case "contains":
      return Array.isArray(value) && value.some((one) => equal(one, where.value));
    case "prefix":
      return typeof value === "string" && value.slice(0, where.value.length) === where.value;
    case "=":
      return equal(value, where.value);
    case "!=":
      return !equal(value, where.value);
  }
  const order = less(value, where.value);
  if (order === undefined) return false;
  return where.op === "<"
    ? order < 0
    : where.op === "<="
      ? order <= 0
      : where.op === ">"
        ? order > 0
        : order >= 0;
}

/** Missing, null, false, true, numbers, text, arrays, objects. */
function rank(value: Json | undefined): number {
  if (value === undefined) return 0;
  if (value === null) return 1;
  if (typeof value === "boolean") return value ? 3 : 2;
  return { number: 4, string: 5, object: Array.isArray(value) ? 6 : 7 }[
    typeof value as "number" | "string" | "object"
  ];
}

const isNumber = (name: string) => /^(0|[1-9]\d*)$/.test(name);

/** JSON with names in order, but numbers first and by value, as objects of JavaScript have them. */
function text(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "";
  const names = Object.keys(value).sort((a, b) => {
    if (isNumber(a) && isNumber(b)) return Number(a) - Number(b);
    return isNumber(a) ? -1 : isNumber(b) ? 1 : a < b ? -1 : 1;
  });
  return `{${names.map((name) => `${JSON.stringify(name)}:${text(value[name])}`).join(",")}}`;
}

/** The first 255 bytes in UTF-8, half a character as if it were one. */
const head = (value: string): number[] =>
  codePoints(value)
    .flatMap((code) =>
      code >= 0xd800 && code < 0xe000
        ? [0xed, 0x80 + ((code >> 6) & 63), 0x80 + (code & 63)]
        : [...new TextEncoder().encode(String.fromCodePoint(code))],
    )
    .slice(0, 255);

export function order(a: Json | undefined, b: Json | undefined): number {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (typeof a === "number") return less(a, b as number) ?? 0;
  if (rank(a) < 5) return 0;
  const [x, y] = [a, b].map((value) => (typeof value === "string" ? value : text(value)));
  return compareLists(head(x ?? ""), head(y ?? ""));
}

export function naiveRows(docs: readonly Doc[], { where, sort = [] }: Request): Doc[] {
  const isDown = sort.at(-1)?.startsWith("-");
  return docs
    .filter((doc) => matches(doc, where))
    .sort((a, b) => {
      for (const key of sort) {
        const path = key.replace(/^-/, "");
        const found = order(get(a, path), get(b, path));
        if (found !== 0) return key.startsWith("-") ? -found : found;
      }
      const ids = compareLists(codePoints(a.id), codePoints(b.id));
      return isDown ? -ids : ids;
    });
}

/** Sums in whole multiples of 2^-1074. */
function exactSum(numbers: number[]): number | null {
  const unit = 2n ** 1074n;
  const sum = numbers.reduce((all, number) => {
    let [value, scale] = [number, unit];
    while (!Number.isInteger(value)) {
      value *= 2;
      scale /= 2n;
    }
    return all + BigInt(value) * scale;
  }, 0n);
  // Divided with 1100 bits behind the point, and read as decimal digits, which Number rounds right.
  const negative = sum < 0n;
  const size = negative ? -sum : sum;
  const decimal =
    `${size / unit}.${((size % unit) * 10n ** 1074n * 1n) / unit + 10n ** 1074n}`.replace(
      /\.1/,
      ".",
    );
  const value = Number(decimal);
  return Number.isFinite(value) ? (negative ? -value : value) : null;
}

export function naiveGroups(docs: readonly Doc[], request: Request): Json[] {
  const { by = [], aggregate = ["count"] } = request;
  const groups = new Map<string, Doc[]>();
  if (by.length === 0) groups.set("", []);
  for (const doc of docs.filter((one) => matches(one, request.where))) {
    const key = by.map((path) => text(get(doc, path)) || "missing").join(" ");
    groups.set(key, [...(groups.get(key) ?? []), doc]);
  }
  return [...groups.values()].map((members) => ({
    group: Object.fromEntries(
      by.flatMap((path) => {
        const value = members[0] && get(members[0], path);
        return value === undefined ? [] : [[path, value]];
      }),
    ),
    values: Object.fromEntries(aggregate.map((label) => [label, measure(members, label)])),
  }));
}

function measure(docs: Doc[], label: string): Json {
  const [, name, path] = /^(\w+)(?:\((.*)\))?$/.exec(label) ?? [];
  if (path === undefined) return docs.length;
  const values = docs.map((doc) => get(doc, path) ?? null).filter((value) => value !== null);
  const numbers = values.filter((value) => typeof value === "number");
  const full = (a: Json, b: Json) => {
    if (rank(a) !== rank(b) || rank(a) < 5) return order(a, b);
    const [x, y] = [a, b].map((value) => (typeof value === "string" ? value : text(value)));
    return compareLists(codePoints(x ?? ""), codePoints(y ?? ""));
  };
  const sorted = values.toSorted(full);
  const sum = exactSum(numbers);
  switch (name) {
    case "count":
      return values.length;
    case "sum":
      return sum;
    case "avg":
      return numbers.length === 0 || sum === null ? null : sum / numbers.length;
    case "min":
      return sorted[0] ?? null;
    default:
      return sorted.at(-1) ?? null;
  }
}

const long = "x".repeat(250);
/** Of every type, around every edge, and often equal. */
export const values: fc.Arbitrary<Json> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<Json>(
      null,
      false,
      true,
      0,
      -0,
      1,
      -1,
      2 ** 53,
      2 ** 53 + 2,
      1e21,
      0.1,
      "",
      "a",
      "é",
      "\u{1F600}",
      "\uFF01",
      "\uD83D",
      "\uDE00",
      "a\u0000b",
      "aa",
      "ab",
      '"',
      long,
      `${long}ab\u{1F600}`,
      `${long}\u{1F600}\u{1F600}`,
      `${long}abcdef`,
      `${long}abcdeg`,
    ),
  },
  { weight: 2, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  { weight: 1, arbitrary: fc.integer({ min: -5, max: 5 }) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 5 }) },
);
const nested: fc.Arbitrary<Json> = fc.oneof(
  { weight: 6, arbitrary: values },
  { weight: 2, arbitrary: fc.array(values, { maxLength: 4 }) },
  {
    weight: 1,
    arbitrary: fc.dictionary(fc.constantFrom("a", "b", "10", "9"), values, { maxKeys: 2 }),
  },
);
export const paths = ["/a", "/b", "/c", "/d/e"];
const path = fc.constantFrom("/a", "/a", "/a", ...paths, "/none", "id", "/c/0");
export const bodies: fc.Arbitrary<Doc["body"]> = fc.record(
  {
    a: nested,
    b: nested,
    c: fc.array(values, { maxLength: 4 }) as fc.Arbitrary<Json>,
    d: fc.record({ e: nested }) as fc.Arbitrary<Json>,
  },
  { requiredKeys: [] },
);
const scalar = values.filter((value) => value !== null);
const test: fc.Arbitrary<Where> = fc.oneof(
  fc.record({
    op: fc.constantFrom("=" as const, "!=" as const, "contains" as const),
    path,
    value: nested,
  }),
  fc.record({
    op: fc.constantFrom("<" as const, "<=" as const, ">" as const, ">=" as const),
    path,
    value: scalar,
  }),
  fc.record({ op: fc.constant("in" as const), path, values: fc.array(nested, { maxLength: 3 }) }),
  fc.record({ op: fc.constant("exists" as const), path }),
  fc.record({
    op: fc.constant("prefix" as const),
    path,
    value: fc.constantFrom("", "a", long, `${long}abc`, "\u{1F600}", "doc-1"),
  }),
);
export const wheres: fc.Arbitrary<Where> = fc.letrec<{ one: Where }>((tie) => ({
  one: fc.oneof(
    { maxDepth: 3 },
    { weight: 6, arbitrary: test },
    {
      weight: 2,
      arbitrary: fc.record({
        op: fc.constant("and" as const),
        of: fc.array(tie("one"), { maxLength: 3 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        op: fc.constant("or" as const),
        of: fc.array(tie("one"), { maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("not" as const), of: tie("one") }) },
  ),
})).one;
export const sorts = fc.uniqueArray(
  fc.tuple(fc.constantFrom("", "-"), path).map(([sign, key]) => `${sign}${key}`),
  { maxLength: 3, selector: (key) => key.replace("-", "") },
);

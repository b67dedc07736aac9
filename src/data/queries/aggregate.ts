/** Groups and what is measured of each, document by document; the order of documents plays no part. */
import { valueAtPath } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { stable } from "../../lib/stable.ts";
import { objectOf, type Json, type JsonObject } from "../documents/json.ts";
import type { Subject } from "./evaluate.ts";
import { createExactSum } from "./exact-sum.ts";
import type { Aggregate, Named } from "./query.ts";
import { compareValues, sortKey } from "./values.ts";

/** More would not fit in memory, nor in an answer. */
export const groupsMax = 10_000;

export interface Measurer {
  add(subject: Subject): void;
  /** Null where there was nothing to measure. */
  value(): Json;
}

/** `count(x)`, `min` and `max` are of what is there and not null; `sum` and `avg` of numbers. */
export function createMeasurer({ measure, path }: Aggregate): Measurer {
  const valueOf = (subject: Subject) => path && valueAtPath(subject, path);
  let count = 0;
  switch (measure) {
    case "count":
      return {
        add(subject) {
          if (!path || (valueOf(subject) ?? null) !== null) count++;
        },
        value: () => count,
      };
    case "min":
    case "max":
      return bestOf(valueOf, measure === "min" ? -1 : 1);
    case "sum":
    case "avg": {
      const sum = createExactSum();
      return {
        add(subject) {
          const value = valueOf(subject);
          if (typeof value !== "number") return;
          count++;
          sum.add(value);
        },
        value() {
          const total = sum.total() ?? null;
          if (measure === "sum") return total;
          return count === 0 || total === null ? null : total / count;
        },
      };
    }
    case "first":
    case "last":
      return endOf(valueOf, measure);
  }
}

function bestOf(valueOf: (subject: Subject) => Json | undefined, direction: 1 | -1): Measurer {
  let best: Json = null;
  return {
    add(subject) {
      const value = valueOf(subject) ?? null;
      if (value === null) return;
      if (best === null || compareValues(value, best) * direction > 0) best = value;
    },
    value: () => best,
  };
}

/** By the time of entries; of one time, the one that arrived first or last. */
function endOf(
  valueOf: (subject: Subject) => Json | undefined,
  measure: "first" | "last",
): Measurer {
  let kept: Json = null;
  let keptMs = 0;
  return {
    add(subject) {
      const value = valueOf(subject) ?? null;
      const { atMs = 0 } = subject;
      if (value === null) return;
      if (kept !== null && (measure === "first" ? atMs >= keptMs : atMs < keptMs)) return;
      kept = value;
      keptMs = atMs;
    },
    value: () => kept,
  };
}

export type Group = { readonly group: JsonObject; readonly values: JsonObject };

export interface Groups {
  /** Throws `query-too-dear` for one group too many. */
  add(subject: Subject): void;
  /** In the order of what they are grouped by. */
  all(): Group[];
}

/**
 * Without anything to group by there is one group, also of nothing. With `windowMs` entries are
 * grouped by tumbling windows of time besides, which begin at multiples of it since 1970.
 */
export function createGroups(
  fields: readonly Named[],
  aggregates: readonly Aggregate[],
  { windowMs }: { windowMs?: number } = {},
): Groups {
  const by = [
    ...(windowMs === undefined ? [] : [{ label: "window", valueOf: windowOf(windowMs) }]),
    ...fields.map(({ label, path }) => ({
      label,
      valueOf: (subject: Subject) => valueAtPath(subject, path),
    })),
  ];
  type Kept = { values: readonly (Json | undefined)[]; measurers: readonly Measurer[] };
  const groups = new Map<string, Kept>();
  const groupOf = (values: readonly (Json | undefined)[]): Kept => {
    const key = values.map((value) => (value === undefined ? "" : stable(value))).join("\n");
    const known = groups.get(key);
    if (known) return known;
    if (groups.size >= groupsMax) {
      throw new SkerryError({
        code: "query-too-dear",
        message: `more than ${groupsMax} groups by ${by.map(({ label }) => label).join(", ")}`,
        hint: "group by something with fewer values, or narrow where",
      });
    }
    const kept = { values, measurers: aggregates.map(createMeasurer) };
    groups.set(key, kept);
    return kept;
  };
  if (by.length === 0) groupOf([]);
  return {
    add(subject) {
      const { measurers } = groupOf(by.map(({ valueOf }) => valueOf(subject)));
      for (const measurer of measurers) measurer.add(subject);
    },
    all: () =>
      [...groups]
        .map(([text, kept]) => ({ text, keys: kept.values.map(sortKey), ...kept }))
        .sort((a, b) => byKeys(a.keys, b.keys) || (a.text < b.text ? -1 : 1))
        .map(({ values, measurers }) => ({
          group: objectOf(
            by.flatMap(({ label }, at) => {
              const value = values[at];
              return value === undefined ? [] : [[label, value] as const];
            }),
          ),
          values: objectOf(
            aggregates.map(({ label }, at) => [label, measurers[at]?.value() ?? null] as const),
          ),
        })),
  };
}

/** When it begins, as text; up to the year 9999 its order is that of time. */
const windowOf =
  (windowMs: number) =>
  ({ atMs = 0 }: Subject): string =>
    new Date(Math.floor(atMs / windowMs) * windowMs).toISOString();

function byKeys(a: readonly Buffer[], b: readonly Buffer[]): number {
  for (const [at, key] of a.entries()) {
    const order = key.compare(b[at] ?? Buffer.alloc(0));
    if (order !== 0) return order;
  }
  return 0;
}

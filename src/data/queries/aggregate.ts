/** Groups and what is measured of each, document by document; the order of documents plays no part. */
import { pointerOf, valueAtPath } from "../../api/records/index.ts";
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
    case "last": {
      let kept: Json = null;
      return {
        add(subject) {
          const value = valueOf(subject) ?? null;
          if (value !== null && (measure === "last" || kept === null)) kept = value;
        },
        value: () => kept,
      };
    }
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

export type Group = { readonly group: JsonObject; readonly values: JsonObject };

export interface Groups {
  /** Throws `query-too-dear` for one group too many. */
  add(subject: Subject): void;
  /** In the order of what they are grouped by. */
  all(): Group[];
}

/** Without `by` there is one group, also of nothing. */
export function createGroups(by: readonly Named[], aggregates: readonly Aggregate[]): Groups {
  type Kept = { values: readonly (Json | undefined)[]; measurers: readonly Measurer[] };
  const groups = new Map<string, Kept>();
  const groupOf = (values: readonly (Json | undefined)[]): Kept => {
    const key = values.map((value) => (value === undefined ? "" : stable(value))).join("\n");
    const known = groups.get(key);
    if (known) return known;
    if (groups.size >= groupsMax) {
      throw new SkerryError({
        code: "query-too-dear",
        message: `more than ${groupsMax} groups by ${by.map(({ path }) => pointerOf(path)).join(", ")}`,
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
      const { measurers } = groupOf(by.map(({ path }) => valueAtPath(subject, path)));
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

function byKeys(a: readonly Buffer[], b: readonly Buffer[]): number {
  for (const [at, key] of a.entries()) {
    const order = key.compare(b[at] ?? Buffer.alloc(0));
    if (order !== 0) return order;
  }
  return 0;
}

/**
 * What an index holds of a document: one key for the value at its path, and of an array one for each
 * element besides. Every document that is there has a value key, also one without the field, so that
 * an index can stand for the whole collection in its order (Q3).
 */
import { valueAtPath, type Path } from "../../api/records/index.ts";
import type { Json } from "../documents/json.ts";
import type { Condition } from "./query.ts";
import { bracketOf, sortKey } from "./values.ts";

const valueKind = Buffer.of(0x01);
const elementKind = Buffer.of(0x02);

export const valueKey = (value: Json | undefined): Buffer =>
  Buffer.concat([valueKind, sortKey(value)]);
export const elementKey = (value: Json): Buffer => Buffer.concat([elementKind, sortKey(value)]);

/** Without repetition; the elements of an array that are equal as far as a key goes are one. */
export function keysOf(body: Json, path: Path): Map<string, Buffer> {
  const value = valueAtPath({ id: "", body }, path);
  const keys = [valueKey(value), ...(Array.isArray(value) ? value.map(elementKey) : [])];
  return new Map(keys.map((key) => [key.toString("latin1"), key]));
}

/** From `low` to `high`, both included. What lies in it is a candidate; whether it matches is asked. */
export type KeyRange = { readonly low: Buffer; readonly high: Buffer };

/** All value keys: the collection in the order of the field. */
export const everyValue: KeyRange = { low: valueKind, high: Buffer.of(0x01, 0xff) };

/** Where documents that meet the condition stand in an index on its path; undefined: anywhere. */
export function rangesOf(condition: Condition): readonly KeyRange[] | undefined {
  switch (condition.op) {
    case "=":
      return [exactly(valueKey(condition.value))];
    case "in": {
      const keys = condition.values
        .map(valueKey)
        .map((key) => [key.toString("latin1"), key] as const);
      return [...new Map(keys).values()].sort((a, b) => a.compare(b)).map(exactly);
    }
    case "contains":
      return [exactly(elementKey(condition.value))];
    case "prefix": {
      const low = valueKey(condition.value);
      // No text has this byte.
      return [{ low, high: Buffer.concat([low, Buffer.of(0xff)]) }];
    }
    case "exists":
      return [{ low: Buffer.of(0x01, 0x01), high: everyValue.high }];
    case "<":
    case "<=":
    case ">":
    case ">=": {
      const key = valueKey(condition.value);
      const type = typeof condition.value;
      if (type === "boolean") return [{ low: valueKey(false), high: valueKey(true) }];
      const { low, high } = bracketOf(type === "number" ? "number" : "text");
      return condition.op.startsWith("<")
        ? [{ low: Buffer.of(0x01, low), high: key }]
        : [{ low: key, high: Buffer.of(0x01, high) }];
    }
    default:
      return undefined;
  }
}

const exactly = (key: Buffer): KeyRange => ({ low: key, high: key });

/** What lies in both; of lists of ranges, those of the first within the only one of the second. */
export function intersect(
  a: readonly KeyRange[],
  b: readonly KeyRange[],
): readonly KeyRange[] | undefined {
  const [only] = a.length === 1 ? a : b;
  const others = a.length === 1 ? b : a;
  if (!only || (a.length !== 1 && b.length !== 1)) return undefined;
  return others
    .map(({ low, high }) => ({
      low: low.compare(only.low) < 0 ? only.low : low,
      high: high.compare(only.high) > 0 ? only.high : high,
    }))
    .filter(({ low, high }) => low.compare(high) <= 0);
}

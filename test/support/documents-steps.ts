/** Scripts of writes to one document by three writers, for property tests. */
import * as fc from "fast-check";
import type { TextAttributes } from "../../src/api/records/index.ts";
import type { Json, JsonObject } from "../../src/data/documents/json.ts";
import type { Action, Step } from "./documents-history.ts";

const scalar = fc.constantFrom<Json>(1, 2, "x", "y", true, null, {}, []);
const value = fc.oneof(scalar, fc.constantFrom<Json>({ x: 1 }, { x: 2, y: { z: 3 } }, [1, 2]));
const item = fc.constantFrom<Json>("p", "q", "r", { k: 1 });
const items = fc.array(item, { maxLength: 3 });
export const historyBody: fc.Arbitrary<JsonObject> = fc.record(
  {
    a: value,
    b: value,
    n: fc.integer({ min: -5, max: 5 }),
    s: items,
    l: items,
    t: fc.constantFrom("", "a", "ab", "grün", "a😀b", "a😎b"),
    ["__proto__"]: scalar,
  },
  { requiredKeys: [] },
) as fc.Arbitrary<JsonObject>;
const attributes = fc.constantFrom<TextAttributes>(
  { bold: true },
  { bold: null },
  { bold: true, link: "/a" },
);
const length = fc.integer({ min: 1, max: 4 });
const part = fc.oneof(
  fc.record({ insert: fc.constantFrom("x", "yz", "\n") }),
  fc.record({ insert: fc.constantFrom("B"), attributes }),
  fc.record({ retain: length }),
  fc.record({ retain: length, attributes }),
  fc.record({ delete: length }),
);
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    do: fc.constant("become" as const),
    path: fc.constantFrom("/a", "/a/x", "/a/y", "/b", "/a/y/z"),
    value: fc.option(value, { nil: undefined }),
  }),
  fc.record({ do: fc.constant("put" as const), body: historyBody }),
  fc.record({ do: fc.constant("increment" as const), by: fc.integer({ min: -3, max: 3 }) }),
  fc.record({ do: fc.constantFrom("add" as const, "discard" as const), value: item }),
  fc.record({
    do: fc.constant("insert" as const),
    index: fc.nat({ max: 4 }),
    values: fc.array(item, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ do: fc.constant("deleteAt" as const), index: fc.nat({ max: 4 }) }),
  fc.record({ do: fc.constant("edit" as const), delta: fc.array(part, { maxLength: 3 }) }),
);
const writer = fc.nat({ max: 2 });
const hlc = fc.nat({ max: 6 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ writer, hlc, actions: fc.array(action, { maxLength: 3 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ writer, hlc, actions: fc.constant<Action[]>([{ do: "delete" }]) }),
  },
  { weight: 4, arbitrary: fc.record({ writer, hears: writer }) },
);
export const historySteps = fc.array(step, { maxLength: 24 });

/** The short way of a new document of plain fields ends in the very row that the long way makes. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { show, withText } from "../../src/data/documents/body.ts";
import { encodeState } from "../../src/data/documents/encode-state.ts";
import {
  changesOf,
  createFreshDocuments,
  rowStateOf,
  stateOf,
} from "../../src/data/documents/fresh.ts";
import type { Json } from "../../src/data/documents/json.ts";
import type { Context } from "../../src/data/documents/merge.ts";
import type { Change, Write } from "../../src/data/documents/operation.ts";

const origins = { numberOf: () => 3, originOf: () => "n1.a" };
const context: Context = { origin: "n1.a", sequence: 7, hlc: 4096, covers: () => true };
const nameOf = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("name", "10", "9", "", "é", "Z", "a b") },
  { weight: 1, arbitrary: fc.string({ maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom("__proto__", "a~b", "a/b") },
);
const valueOf = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.oneof(fc.string(), fc.double({ noNaN: true, noDefaultInfinity: true })),
  },
  { weight: 2, arbitrary: fc.constantFrom<Json>(null, true, -0, [], {}, [1, { a: [] }]) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json> },
);
const edit = (changes: readonly Change[], schema?: number): Write => ({
  collection: "c",
  id: "d",
  verb: "edit",
  ...(schema === undefined ? {} : { schema }),
  changes,
});

/** One for all: each document comes after one of other fields, or of the same. */
const documents = createFreshDocuments();

function assertSameRow(write: Write): boolean {
  const fresh = documents.of(write, context);
  if (!fresh) return false;
  const state = stateOf(fresh);
  const shown = withText(show(state));
  assert.equal(fresh.shown.text, shown.text);
  assert.deepEqual(fresh.shown.conflicts, shown.conflicts);
  assert.equal(rowStateOf(fresh, origins), encodeState(state, shown.body, origins));
  return true;
}

test("M3: a new document of plain fields has the row of its state, whatever the fields are", () => {
  let taken = 0;
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(nameOf, valueOf), { selector: ([name]) => name, maxLength: 6 }),
      fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
      (fields, schema) => {
        const changes = changesOf(Object.fromEntries(fields));
        if (!changes || !assertSameRow(edit(changes, schema))) return;
        taken++;
        const others = changes.map((change) => ({ ...change, value: taken }));
        for (const next of [others, others.toReversed(), others.slice(1), changes])
          assert.equal(assertSameRow(edit(next, schema)), next.length > 0);
      },
    ),
    { seed: 7, numRuns: 500 },
  );
  assert.ok(taken > 100, `only ${taken} went the short way`);
});

test("M3: what is not plain, or set twice, or nothing, takes the way of every other write", () => {
  const set = (path: string, more: object = {}): Change => ({
    type: "set",
    path,
    value: 1,
    ...more,
  });
  for (const changes of [
    [],
    [set("/a/b")],
    [set("")],
    [set("/a~1b")],
    [set("/a"), set("/a")],
    [set("/a", { counts: {} })],
    [set("/a"), { type: "count", path: "/b", by: 1 } as const],
  ])
    assert.equal(documents.of(edit(changes), context), undefined, JSON.stringify(changes));
  assert.equal(changesOf({ a: { b: 1 } }), undefined);
  assert.equal(changesOf({ "a/b": 1 }), undefined);
});

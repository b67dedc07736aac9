/** What a request of many changes costs: its document is looked at once, not once for each of them. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { stable } from "../../src/api/index.ts";
import type { DocumentWrite, FieldChange } from "../../src/data/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { createEditor, type MergeType } from "../../src/data/documents/editor.ts";
import type { JsonObject } from "../../src/data/documents/json.ts";
import { applyWrite, type Context } from "../../src/data/documents/merge.ts";
import { perform } from "../../src/data/documents/performing.ts";
import {
  emptyCell,
  emptyState,
  type Cell,
  type DocumentState,
} from "../../src/data/documents/state.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { openDocuments, put, replicate, write } from "../support/documents.ts";

const contextOf = (sequence: number, origin = "w1"): Context => ({
  origin,
  sequence,
  hlc: sequence,
  covers: () => true,
});
const asked = (changes: readonly FieldChange[]): DocumentWrite => ({
  collection: "c",
  id: "d",
  do: "change",
  changes,
});

/** Counts how often all of it is gone through. */
class CountedMap extends Map<string, Cell> {
  walks = 0;
  override [Symbol.iterator]() {
    this.walks++;
    return super[Symbol.iterator]();
  }
  override keys() {
    this.walks++;
    return super.keys();
  }
}

test("D9: fields are set by a look at themselves, however many others there are", () => {
  const cells = new CountedMap();
  const state: DocumentState = { ...emptyState(), cells };
  const fields = Object.fromEntries(range(1, 40).map((n) => [`g${n}`, { a: n, b: { c: n } }]));
  const begun = createEditor(state, contextOf(1), () => "register");
  applyWrite(state, { collection: "c", id: "d", verb: "edit", changes: [] }, contextOf(1));
  begun.become(fields);
  const editor = createEditor(state, contextOf(2), () => "register");
  cells.walks = 0;
  const changes = range(1, 400).map((n): FieldChange => {
    const path = `/g${(n % 40) + 1}/${n % 3 === 0 ? "b/c" : "a"}`;
    return n % 7 === 0 ? { change: "remove", path } : { change: "set", path, value: n };
  });
  perform(editor, asked(changes), undefined);
  assert.ok(editor.changes.length >= 300);
  assert.ok(cells.walks <= 3, `${cells.walks} walks for ${changes.length} changes`);
});

test("D9: changes of a list walk it once, here and where they are told", () => {
  const length = 2000;
  let reads = 0;
  const listed = (): DocumentState => {
    const cell = emptyCell();
    cell.list = range(1, length).map((n) => ({
      get id() {
        reads++;
        return `${n}@w1`;
      },
      get n() {
        reads++;
        return n;
      },
      origin: "w1",
      sequence: 1,
      value: n,
    }));
    const stamp = { origin: "w1", sequence: 1, hlc: 1 };
    return { ...emptyState(), edits: [stamp], cells: new Map([["/l", cell]]) };
  };
  const [state, told] = [listed(), listed()];
  const editor = createEditor(state, contextOf(2), () => "list");
  const changes = range(1, 500).map((n): FieldChange =>
    n % 2 === 0
      ? { change: "insert", path: "/l", index: n, values: [n, n] }
      : { change: "delete", path: "/l", index: n * 3 },
  );
  perform(editor, asked(changes), undefined);
  assert.ok(reads < 20 * length, `${reads} reads of ${length} elements`);
  reads = 0;
  const { changes: logged } = editor;
  applyWrite(told, { collection: "c", id: "d", verb: "edit", changes: logged }, contextOf(2));
  assert.ok(reads < 20 * length, `${reads} reads of ${length} elements`);
  assert.equal(stable(show(told).body), stable(show(state).body));
});

const types: Readonly<Record<string, MergeType>> = { "/l": "list", "/m": "list", "/t": "text" };
const path = fc.constantFrom("/l", "/m");
const place = fc.nat({ max: 6 });
const change: fc.Arbitrary<FieldChange> = fc.oneof(
  fc.record({
    change: fc.constant("insert" as const),
    path,
    index: place,
    values: fc.array(fc.nat({ max: 9 }), { maxLength: 3 }),
  }),
  fc.record({ change: fc.constant("delete" as const), path, index: place, count: place }),
  fc.record({ change: fc.constant("set" as const), path, value: fc.constantFrom([], [1, 2], 3) }),
  fc.record({
    change: fc.constant("edit" as const),
    path: fc.constant("/t"),
    delta: fc.constantFrom(
      [{ insert: "ab" }],
      [{ retain: 1 }, { delete: 1 }],
      [{ retain: 2 }, { insert: "x" }],
    ),
  }),
  fc.record({
    change: fc.constant("set" as const),
    path: fc.constantFrom("/a", "/a/b", "/a/b/c"),
    value: fc.constantFrom(1, { b: 2 }, {}),
  }),
  fc.record({ change: fc.constant("remove" as const), path: fc.constantFrom("/a/b", "/t", "/l") }),
);

test("M1: many changes in one request are what they are one by one, and others make the same of them", () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
      const shownAfter = (requests: readonly (readonly FieldChange[])[]) => {
        const [state, told] = [emptyState(), emptyState()];
        for (const [index, request] of requests.entries()) {
          const context = contextOf(index + 1);
          const verb = { collection: "c", id: "d", verb: "edit" } as const;
          applyWrite(state, { ...verb, changes: [] }, context);
          const editor = createEditor(state, context, (at) => types[at] ?? "register");
          perform(editor, asked(request), undefined);
          applyWrite(told, { ...verb, changes: editor.changes }, context);
        }
        assert.equal(stable(show(told)), stable(show(state)));
        return stable(show(state).body);
      };
      assert.equal(shownAfter([changes]), shownAfter(changes.map((each) => [each])));
    }),
    { numRuns: 400 },
  );
});

test("D9, M22: a document grows to 2000 fields by no number of requests; what merges made larger may shrink", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  const fields = (from: number, to: number) =>
    Object.fromEntries(range(from, to).map((n) => [`f${n}`, n]));
  const merge = (patch: JsonObject): DocumentWrite => ({
    collection: "items",
    id: "d",
    do: "merge",
    patch,
  });
  await write(a, put("d", fields(1, 1500)));
  await write(a, merge({ all: fields(1, 499) }));
  const refused = await a.write([merge({ more: 1 })]);
  assert.deepEqual(refused.state === "refused" && [refused.code, refused.message], [
    "document-too-large",
    "writes[0] (items/d): would have 2001 fields",
  ]);
  await write(a, merge({ f1: 2 }));
  // Elements of a list are no fields of the document.
  const steps = range(1, 1500).map((n) => ({ n }));
  await write(a, put("list", { steps }));
  const insert = { change: "insert", path: "/steps", values: steps } as const;
  await write(a, { collection: "items", id: "list", do: "change", changes: [insert] });
  await write(b, put("d", fields(3001, 4000)));
  await replicate(a, b);
  assert.equal((await b.write([merge({ one: 1 })])).state, "refused");
  await write(b, merge({ f1: null, one: 1 }));
  await write(b, merge({ f2: null }));
  await Promise.all([a.close(), b.close()]);
});

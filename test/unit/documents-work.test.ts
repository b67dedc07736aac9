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
import { changeList, elementId, type ListChange } from "../../src/data/documents/list.ts";
import { applyWrite, type Context } from "../../src/data/documents/merge.ts";
import { perform } from "../../src/data/documents/performing.ts";
import {
  emptyCell,
  emptyState,
  type Cell,
  type DocumentState,
  type Element,
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

/** A list at `/l` that counts how often its elements are looked at. */
function countedList(length: number) {
  const read = { count: 0 };
  const listed = (): DocumentState => {
    const cell = emptyCell();
    cell.list = range(1, length).map((n) => ({
      get id() {
        read.count++;
        return `${n}@w1`;
      },
      get n() {
        read.count++;
        return n;
      },
      origin: "w1",
      sequence: 1,
      value: n,
    }));
    const stamp = { origin: "w1", sequence: 1, hlc: 1 };
    return { ...emptyState(), edits: [stamp], cells: new Map([["/l", cell]]) };
  };
  return { listed, read };
}
const typed = (path: string): MergeType => (path === "/l" ? "list" : "register");

test("D9: changes of a list walk it once, here and where they are told", () => {
  const length = 2000;
  const { listed, read } = countedList(length);
  const [state, told] = [listed(), listed()];
  const editor = createEditor(state, contextOf(2), () => "list");
  const changes = range(1, 500).map((n): FieldChange =>
    n % 2 === 0
      ? { change: "insert", path: "/l", index: n, values: [n, n] }
      : { change: "delete", path: "/l", index: n * 3 },
  );
  perform(editor, asked(changes), undefined);
  assert.ok(read.count < 20 * length, `${read.count} reads of ${length} elements`);
  read.count = 0;
  const { changes: logged } = editor;
  applyWrite(told, { collection: "c", id: "d", verb: "edit", changes: logged }, contextOf(2));
  assert.ok(read.count < 20 * length, `${read.count} reads of ${length} elements`);
  assert.equal(stable(show(told).body), stable(show(state).body));
});

test("D9: changes of a list that stand between those of other fields walk it once, also where an earlier version told them so", () => {
  const length = 40_000;
  const { listed, read } = countedList(length);
  const [state, told, old] = [listed(), listed(), listed()];
  const editor = createEditor(state, contextOf(2), typed);
  const changes = range(1, 200).flatMap((n): FieldChange[] => [
    { change: "insert", path: "/l", values: n % 2 === 0 ? [] : [n] },
    { change: "set", path: "/c/d", value: n },
    { change: "insert", path: "/l", index: n, values: [n] },
  ]);
  perform(editor, asked([{ change: "set", path: "/c", value: 1 }, ...changes]), undefined);
  const walks = () => read.count / length;
  assert.ok(walks() < 10, `${walks()} reads of each element`);
  const logged = editor.changes;
  const inserts = logged.filter(({ type }) => type === "insert");
  assert.equal(inserts.length, 300, "what inserts nothing is not told");
  const edit = { collection: "c", id: "d", verb: "edit" } as const;
  read.count = 0;
  applyWrite(told, { ...edit, changes: logged }, contextOf(2));
  assert.ok(walks() < 10, `${walks()} reads of each element`);
  const others = logged.filter(({ type }) => type !== "insert");
  const mixed = inserts.flatMap((each, at) => [each, ...others.slice(at, at + 1)]);
  assert.equal(mixed.length, logged.length);
  read.count = 0;
  applyWrite(old, { ...edit, changes: mixed }, contextOf(2));
  assert.ok(walks() < 10, `${walks()} reads of each element`);
  for (const each of [told, old]) assert.equal(stable(show(each).body), stable(show(state).body));
});

test("M1: a list is changed at once as it is one by one", () => {
  const step = fc.record({
    what: fc.constantFrom("insert", "delete"),
    at: fc.nat({ max: 20 }),
    count: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), fc.nat({ max: 30 }), (steps, begun) => {
      const list = range(1, 10).map((n) => {
        const origin = n % 3 === 0 ? "w9" : "w0";
        return { id: elementId(n, origin), n, origin, sequence: 1, value: n };
      });
      let n = begun + 1;
      const changes = steps.map(({ what, at, count }): ListChange => {
        const ids = [...list.map(({ id }) => id), ...range(1, 30).map((m) => elementId(m, "w1"))];
        const after = ids[at] ?? null;
        if (what === "delete")
          return { type: "delete", path: "/l", ids: ids.slice(at, at + count) };
        const values = range(n, count);
        n += values.length;
        return { type: "insert", path: "/l", after, n: n - values.length, values };
      });
      const dot = { origin: "w1", sequence: 2 };
      assert.deepEqual(
        changeList(list, changes, dot),
        changes.reduce<readonly Element[]>((made, each) => changeList(made, [each], dot), list),
      );
    }),
    { numRuns: 1000 },
  );
});

const types: Readonly<Record<string, MergeType>> = {
  "/l": "list",
  "/m": "list",
  "/a/l": "list",
  "/t": "text",
};
const path = fc.constantFrom("/l", "/m", "/a/l");
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
    path: fc.constantFrom("/a", "/a/b", "/a/b/c", "/l/x", "/t/x"),
    value: fc.constantFrom(1, { b: 2 }, {}),
  }),
  fc.record({
    change: fc.constant("remove" as const),
    path: fc.constantFrom("/a", "/a/b", "/t", "/l"),
  }),
);

test("M1: many changes in one request are what they are one by one, and others make the same of them", () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
      const shownAfter = (
        requests: readonly (readonly FieldChange[])[],
        // Earlier versions told changes in the order in which they were asked for.
        piecesOf = (request: readonly FieldChange[]) => [request],
      ) => {
        const [state, told] = [emptyState(), emptyState()];
        for (const [index, request] of requests.entries()) {
          const context = contextOf(index + 1);
          const verb = { collection: "c", id: "d", verb: "edit" } as const;
          applyWrite(state, { ...verb, changes: [] }, context);
          const editor = createEditor(state, context, (at) => types[at] ?? "register");
          for (const piece of piecesOf(request)) perform(editor, asked(piece), undefined);
          applyWrite(told, { ...verb, changes: editor.changes }, context);
        }
        assert.equal(stable(show(told)), stable(show(state)));
        return stable(show(state).body);
      };
      const oneByOne = changes.map((each) => [each]);
      assert.equal(shownAfter([changes]), shownAfter(oneByOne));
      assert.equal(
        shownAfter([changes], () => oneByOne),
        shownAfter(oneByOne),
      );
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

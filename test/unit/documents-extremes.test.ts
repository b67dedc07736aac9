/** Counters at the ends of what a number can be: a log and a snapshot of them are read by everybody. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import * as fc from "fast-check";
import { stable } from "../../src/api/index.ts";
import type { DocumentWrite, LocalDocumentStore } from "../../src/data/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { createEditor } from "../../src/data/documents/editor.ts";
import type { JsonObject } from "../../src/data/documents/json.ts";
import { applyWrite } from "../../src/data/documents/merge.ts";
import { readOperation, requireReadable, type Change } from "../../src/data/documents/operation.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/data/documents/snapshot.ts";
import { emptyState } from "../../src/data/documents/state.ts";
import { planWrites } from "../../src/data/strong/plan.ts";
import { temporaryFolder } from "../support/data.ts";
import {
  bodyOf,
  fill,
  items,
  listing,
  openDocuments,
  put,
  replicate,
  write,
} from "../support/documents.ts";

const most = Number.MAX_VALUE;
const increment = (id: string, by: number): DocumentWrite => ({
  collection: "items",
  id,
  do: "change",
  changes: [{ change: "increment", path: "/stock", by }],
});

async function open(folder: string, count: number): Promise<LocalDocumentStore[]> {
  const stores: LocalDocumentStore[] = [];
  for (let at = 0; at < count; at++)
    stores.push(await openDocuments(join(folder, `${at}.db`), `n${at}`));
  return stores;
}
const fillText = async (store: LocalDocumentStore) => {
  const bytes = await store.snapshots.give({ vector: {}, force: true });
  return JSON.stringify(decodeSnapshot(bytes!).documents);
};
const close = (stores: readonly LocalDocumentStore[]) =>
  Promise.all(stores.map((store) => store.close()));

test("M4, M22: a counter that is put from one end to the other is told in a way that others read", async () => {
  using folder = temporaryFolder();
  const [a, b] = (await open(folder.path, 2)) as [LocalDocumentStore, LocalDocumentStore];
  for (const stock of [0.7, 0.1, -1.7e308, 1.7e308, 5, -1.7e308, 0, 1.7e308]) {
    await write(a, put("d", { stock }));
    assert.equal(await bodyOf(a, "d"), stable({ stock }));
    assert.equal((await write(a, put("d", { stock }))).changed, 0, "M6");
  }
  await replicate(a, b);
  assert.deepEqual(await listing(b), await listing(a));
  await close([a, b]);
});

test("M22: what would count past the end is refused, and changes nothing", async () => {
  using folder = temporaryFolder();
  const [a, b] = (await open(folder.path, 2)) as [LocalDocumentStore, LocalDocumentStore];
  await write(a, increment("d", 1.7e308));
  const before = await listing(a);
  for (const wish of [increment("d", 1.7e308), put("d", { stock: most })]) {
    const answer = await a.write([wish]);
    assert.deepEqual(answer.state === "refused" && [answer.code, answer.message], [
      "invalid-document",
      "writes[0] (items/d): /stock would count past 1.8e308",
    ]);
  }
  assert.deepEqual(await listing(a), before);
  // A plain number that counting begins at.
  await write(a, put("plain", { text: "x", more: 1.7e308 }, "notes"));
  const notes = { name: "notes", schemaVersion: 4, onMismatch: "refuse" } as const;
  await a.declare([
    items,
    { ...notes, fields: [{ path: "/more", type: "counter", required: false }] },
  ]);
  const answer = await a.write([
    {
      collection: "notes",
      id: "plain",
      do: "change",
      changes: [{ change: "increment", path: "/more", by: 1.7e308 }],
    },
  ]);
  assert.equal(answer.state, "refused");
  await replicate(a, b);
  assert.equal(await bodyOf(b, "d"), stable({ stock: 1.7e308 }));
  await close([a, b]);
});

test("M1: those who counted apart stay at the end together, and any put brings the counter back", async () => {
  using folder = temporaryFolder();
  const [a, b, c] = (await open(folder.path, 3)) as [
    LocalDocumentStore,
    LocalDocumentStore,
    LocalDocumentStore,
  ];
  await write(a, increment("d", 1.7e308));
  await write(b, increment("d", 1.7e308));
  await replicate(a, b);
  await replicate(b, a);
  assert.deepEqual(
    [await bodyOf(a, "d"), await bodyOf(b, "d")],
    Array(2).fill(stable({ stock: most })),
  );
  await fill(a, c, true);
  await write(a, put("d", { stock: 5 }));
  for (const each of [b, c]) await replicate(a, each);
  assert.equal(await bodyOf(a, "d"), '{"stock":5}');
  for (const each of [b, c]) assert.deepEqual(await listing(each), await listing(a));
  await close([a, b, c]);
});

test("M1, M22: whatever is counted, put and removed near the ends, every store takes every log and snapshot", async () => {
  using folder = temporaryFolder();
  const number = fc.constantFrom(most, -most, 1.7e308, -1.7e308, 1e292, 1e17, 1, -0.1, 5e-324);
  const step = fc.record({
    at: fc.nat({ max: 2 }),
    from: fc.nat({ max: 2 }),
    by: number,
    what: fc.constantFrom("increment", "put", "remove", "hear"),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const stores = await open(join(folder.path, `${run++}-`), 4);
      const late = stores.pop()!;
      for (const { at, from, by, what } of steps) {
        const store = stores[at]!;
        if (what === "hear") await replicate(stores[from]!, store);
        else if (what === "increment") await store.write([increment("d", by)]);
        else {
          const body: JsonObject = what === "put" ? { stock: by } : {};
          const answer = await store.write([put("d", body)]);
          if (answer.state === "stored") assert.equal(await bodyOf(store, "d"), stable(body));
        }
      }
      for (const one of stores) for (const other of stores) await replicate(one, other);
      for (const one of stores) assert.deepEqual(await listing(one), await listing(stores[0]!));
      assert.doesNotMatch((await listing(stores[0]!)).join(""), /null/);
      await fill(stores[0]!, late, true);
      assert.deepEqual(await listing(late), await listing(stores[0]!));
      await close([...stores, late]);
    }),
    { numRuns: 20 },
  );
});

test("M2: what is counted is counted, however much was cleared before, and beside what others count", async () => {
  using folder = temporaryFolder();
  const [a, b, late] = (await open(folder.path, 3)) as [
    LocalDocumentStore,
    LocalDocumentStore,
    LocalDocumentStore,
  ];
  const meet = async () => {
    await replicate(a, b);
    await replicate(b, a);
    assert.deepEqual(await listing(b), await listing(a));
  };
  const remove = { change: "remove", path: "/stock" } as const;
  const clear = (id: string): DocumentWrite => ({
    ...{ collection: "items", id, do: "change", changes: [remove] },
  });
  const counts = async (id: string, ...sums: readonly number[]) => {
    for (const stock of sums) {
      await write(a, increment(id, sums[0]!));
      assert.equal(await bodyOf(a, id), stable({ stock }));
    }
  };
  await write(a, put("field", { stock: 1e17 }), put("whole", { stock: 1e17 }));
  await write(a, clear("field"), { collection: "items", id: "whole", do: "delete" });
  await write(a, put("whole", { stock: 0 }));
  for (const id of ["field", "whole"]) await counts(id, 1, 2, 3);
  await write(a, put("small", { stock: 1e6 }));
  await write(a, clear("small"));
  await counts("small", 0.1, 0.2);
  await meet();

  // Cleared by another one; then both count on at the same time.
  await write(a, put("both", { stock: 1e17 }));
  await meet();
  await write(b, clear("both"));
  await meet();
  await write(b, increment("both", 20));
  await counts("both", 1, 2);
  await meet();
  assert.equal(await bodyOf(a, "both"), stable({ stock: 22 }));
  // Cleared by both at the same time, of which one counts on.
  await write(a, increment("both", 1e17));
  await meet();
  await write(a, clear("both"));
  await write(b, clear("both"));
  await write(a, increment("both", 3));
  await meet();
  assert.equal(await bodyOf(b, "both"), stable({ stock: 3 }));
  await fill(a, late, true);
  assert.deepEqual(await listing(late), await listing(a));
  await close([a, b, late]);
});

test("M2: a counter of one writer is the sum since it was cleared last, in its order", () => {
  const step = fc.record({
    by: fc.constantFrom(1e17, -1e17, 1e6, 1, 0.1, -0.3),
    what: fc.constantFrom("increment", "increment", "become", "remove"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const [state, told] = [emptyState(), emptyState()];
      let sum: number | undefined;
      for (const [index, { by, what }] of steps.entries()) {
        const context = { origin: "w1", sequence: index + 1, hlc: 1, covers: () => true };
        const edit = { collection: "c", id: "d", verb: "edit" } as const;
        applyWrite(state, { ...edit, changes: [] }, context);
        const editor = createEditor(state, context, () => "counter");
        if (what === "increment") editor.increment("/n", by);
        else editor.become(what === "become" ? by : undefined, "/n");
        applyWrite(told, { ...edit, changes: editor.changes }, context);
        sum = what === "increment" ? (sum ?? 0) + by : what === "become" ? by : undefined;
        const body = stable(sum === undefined ? {} : { n: sum });
        assert.deepEqual([stable(show(state).body), stable(show(told).body)], [body, body]);
      }
    }),
    { numRuns: 500 },
  );
});

test("M8: what an earlier version wrote past the end is read: in a row, in a log and in a snapshot", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "a.db");
  const first = await openDocuments(path, "n1");
  await write(first, increment("d", 1.7e308));
  await first.close();
  const db = new DatabaseSync(path);
  db.exec(
    `UPDATE document SET body = '{"stock":null}', state = replace(state, '1.7e+308', 'null')`,
  );
  assert.match(String(db.prepare("SELECT state FROM document").get()?.["state"]), /null/);
  db.close();
  const [a, b, c] = [
    await openDocuments(path, "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
    await openDocuments(join(folder.path, "c.db"), "n3"),
  ];
  assert.equal(await bodyOf(a, "d"), stable({ stock: most }));
  await fill(a, b, true);
  assert.deepEqual(await listing(b), await listing(a));
  await write(a, put("d", { stock: 5 }));
  await replicate(a, b);
  assert.equal(await bodyOf(b, "d"), '{"stock":5}');
  await close([a, b]);

  const told = { collection: "items", id: "e", state: { c: [["/stock", [[0, 1, null]]]] } };
  const piece = { view: "v", next: { changes: {}, keys: 0 }, origins: ["n9.a"], keys: [], end: [] };
  await c.snapshots.take(encodeSnapshot({ ...piece, documents: [told] } as never));
  assert.match(await fillText(c), /"c":\[\["\/stock",\[\[0,1,1.79/);
  await c.close();

  const logged = { collection: "items", id: "d", verb: "edit" };
  const counts = { "/stock": { "n1.a": [1, null] } };
  const changes = [
    { type: "count", path: "/stock", by: null },
    { type: "remove", path: "/stock", counts },
  ];
  const text = JSON.stringify({ hlc: 1, seen: {}, writes: [{ ...logged, changes }] });
  const [count, remove] = readOperation(text).writes[0]!.changes as [
    Change & { type: "count" },
    Change & { type: "remove" },
  ];
  assert.deepEqual([count.by, remove.counts?.["/stock"]?.["n1.a"]], [Infinity, [1, Infinity]]);
});

test("M22: nothing is logged that others would not read", () => {
  const logging =
    (...changes: readonly Change[]) =>
    () =>
      requireReadable([{ collection: "c", id: "d", verb: "edit", changes }]);
  const unread = { code: "invalid-document", message: /^c\/d: other stores could not read/ };
  assert.throws(logging({ type: "count", path: "/n", by: Infinity }), unread);
  assert.throws(logging({ type: "count", path: "/n", by: NaN }), unread);
  assert.throws(logging({ type: "insert", path: "/l", after: null, n: 0, values: [1] }), unread);
  logging({ type: "count", path: "/n", by: -most }, { type: "remove", path: "/n" })();
});

test("a strong counter is refused past the end as well", () => {
  const plan = planWrites(
    { ...items, onMismatch: "warn" },
    [increment("d", 1.7e308)],
    new Map([["d", { revision: 1, schemaVersion: 1, body: { stock: 1.7e308 } }]]) as never,
  );
  assert.deepEqual(plan.state === "refused" && plan.complaint, {
    code: "invalid-document",
    message: "writes[0] (items/d): /stock would count past 1.8e308",
  });
});

/** Who writes what is in conflict has decided, for what is shown as for anything else. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { stable } from "../../src/api/index.ts";
import type { DocumentWrite, LocalDocumentStore } from "../../src/data/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { createEditor } from "../../src/data/documents/editor.ts";
import type { JsonObject } from "../../src/data/documents/json.ts";
import { applyWrite, type Context } from "../../src/data/documents/merge.ts";
import { emptyState, isAlive } from "../../src/data/documents/state.ts";
import { temporaryFolder } from "../support/data.ts";
import { applyMade, makeHistory, typesOf } from "../support/documents-history.ts";
import { historySteps } from "../support/documents-steps.ts";
import { openDocuments, put, replicate, write } from "../support/documents.ts";

const merge = (id: string, patch: JsonObject): DocumentWrite => ({
  collection: "items",
  id,
  do: "merge",
  patch,
});
const set = (id: string, path: string, value: string): DocumentWrite => ({
  collection: "items",
  id,
  do: "change",
  changes: [{ change: "set", path, value }],
});
const remove = (id: string): DocumentWrite => ({ collection: "items", id, do: "delete" });

const stateOf = async (store: LocalDocumentStore, id: string) => {
  const document = await store.read({ collection: "items", id });
  return [stable(document?.body), document?.conflicts.map(({ path, kind }) => `${kind} ${path}`)];
};

test("M2, M6: a contested field that is written settles it, for what is shown too, everywhere, and once", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  const meet = async () => {
    await replicate(a, b);
    await replicate(b, a);
  };
  const settling = async (id: string, wish: (shown: JsonObject) => DocumentWrite) => {
    await write(a, put(id, { name: "A", rest: 1 }));
    await write(b, put(id, { name: "B", rest: 1 }));
    await meet();
    const { body, conflicts } = (await a.read({ collection: "items", id }))!;
    assert.equal(conflicts.length, 1);
    assert.equal((await write(a, merge(id, { rest: 1 }))).changed, 0, "another field");
    assert.equal((await write(a, merge(id, { rest: 2 }))).changed, 1, "another field");
    assert.equal((await a.read({ collection: "items", id }))?.conflicts.length, 1);
    const settled = wish({ ...body, rest: 2 });
    assert.equal((await write(a, settled)).changed, 1);
    assert.equal((await write(a, settled)).changed, 0, "M6");
    await meet();
    for (const store of [a, b])
      assert.deepEqual(await stateOf(store, id), [stable({ ...body, rest: 2 }), []]);
  };
  await settling("put", (shown) => put("put", shown));
  await settling("merge", ({ name }) => merge("merge", { name: name! }));
  await settling("set", ({ name }) => set("set", "/name", name as string));

  // A map that is shown beside a plain value.
  await write(a, put("map", { m: 1 }));
  await write(b, put("map", { m: { a: 3, b: 4 } }));
  await meet();
  assert.deepEqual((await stateOf(b, "map"))[1], ["concurrent-writes /m"]);
  await write(b, merge("map", { m: { a: 3 } }));
  assert.deepEqual(await stateOf(b, "map"), ['{"m":{"a":3,"b":4}}', []]);

  // Deleted by one, edited by another.
  const contest = async (id: string) => {
    await write(a, put(id, { name: "x" }));
    await meet();
    await write(a, remove(id));
    await write(b, merge(id, { name: "y" }));
    await meet();
    assert.deepEqual((await stateOf(a, id))[1], ["deleted-and-edited "]);
  };
  for (const wish of [
    put("e1", { name: "y" }),
    merge("e2", { name: "y" }),
    set("e3", "/name", "y"),
  ]) {
    await contest(wish.id);
    assert.equal((await write(a, wish)).changed, 1);
    assert.equal((await write(a, wish)).changed, 0, "M6");
    await meet();
    for (const store of [a, b])
      assert.deepEqual(await stateOf(store, wish.id), ['{"name":"y"}', []]);
  }
  await contest("e4");
  await write(a, remove("e4"));
  assert.equal((await stateOf(a, "e4"))[1], undefined);
  await Promise.all([a.close(), b.close()]);
});

test("M2, M4: putting what is shown changes nothing of it and leaves no conflict of values", () => {
  fc.assert(
    fc.property(historySteps, fc.boolean(), (script, isDeclared) => {
      const state = emptyState();
      for (const made of makeHistory(script)) applyMade(state, made);
      if (!isAlive(state)) return;
      const put = (sequence: number) => {
        const context: Context = { origin: "w9", sequence, hlc: 9, covers: () => true };
        const { body, conflicts } = show(state);
        applyWrite(state, { collection: "c", id: "d", verb: "edit", changes: [] }, context);
        const editor = createEditor(
          state,
          context,
          isDeclared ? typesOf(0) : () => "register",
          conflicts.map(({ path }) => path),
        );
        editor.become(body);
        // What others wrote as a list may be declared as a set here, which holds nothing twice.
        if (!isDeclared) assert.equal(stable(show(state).body), stable(body));
        assert.deepEqual(show(state).conflicts, []);
        return editor.changes.length;
      };
      put(1);
      assert.equal(put(2), 0);
    }),
    { numRuns: 500 },
  );
});

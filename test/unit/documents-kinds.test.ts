/** Writes of different kinds that meet in one field: what is not shown is told. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import type {
  CollectionDeclaration,
  DocumentWrite,
  FieldChange,
  LocalDocumentStore,
} from "../../src/data/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { createEditor, type MergeType } from "../../src/data/documents/editor.ts";
import type { Json } from "../../src/data/documents/json.ts";
import { applyWrite, type Context } from "../../src/data/documents/merge.ts";
import { emptyState } from "../../src/data/documents/state.ts";
import { temporaryFolder } from "../support/data.ts";
import { openDocuments, replicate, write } from "../support/documents.ts";

type Declared = CollectionDeclaration["fields"][number]["type"];
type Meeting = { readonly type: Declared; readonly change: FieldChange };
const path = "/x";
const counted: Meeting = { type: "counter", change: { change: "increment", path, by: 7 } };
const added: Meeting = { type: "set", change: { change: "add", path, value: "red" } };
const edited: Meeting = {
  type: "text",
  change: { change: "edit", path, delta: [{ insert: "long" }] },
};
const inserted: Meeting = { type: "list", change: { change: "insert", path, values: ["work"] } };
const mapped: Meeting = { type: "any", change: { change: "set", path, value: { inner: 1 } } };

const drift = (type: Declared): CollectionDeclaration => ({
  name: "drift",
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: [{ path, type, required: false }],
});
const changing = (id: string, change: FieldChange): DocumentWrite => ({
  collection: "drift",
  id,
  do: "change",
  changes: [change],
});
const conflictsOf = async (store: LocalDocumentStore, id: string) => {
  const document = await store.read({ collection: "drift", id });
  return document?.conflicts.map((conflict) =>
    conflict.kind === "concurrent-writes"
      ? stable([conflict.path, conflict.shown, conflict.others])
      : conflict.kind,
  );
};

/** Each writes by its own declaration, without having heard of the other; then both hear. */
const meeting =
  (a: LocalDocumentStore, b: LocalDocumentStore) =>
  async (id: string, one: Meeting, other: Meeting) => {
    await a.declare([drift(one.type)]);
    await b.declare([drift(other.type)]);
    await write(a, changing(id, one.change));
    await write(b, changing(id, other.change));
    await replicate(a, b);
    await replicate(b, a);
    const found = await conflictsOf(a, id);
    assert.deepEqual(await conflictsOf(b, id), found);
    return found;
  };

test("M2: of values of different kinds that meet, the one that is not shown is in conflict", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  const meet = meeting(a, b);
  const hidden = (shown: unknown, type: string, value: unknown) => [
    stable([path, shown as never, [{ type, value: value as never }]]),
  ];
  assert.deepEqual(await meet("1", counted, added), hidden(["red"], "counter", 7));
  assert.deepEqual(await meet("2", counted, mapped), hidden({ inner: 1 }, "counter", 7));
  assert.deepEqual(await meet("3", edited, inserted), hidden(["work"], "text", "long"));
  assert.deepEqual(await meet("4", edited, mapped), hidden({ inner: 1 }, "text", "long"));
  assert.deepEqual(await meet("5", inserted, mapped), hidden({ inner: 1 }, "list", ["work"]));
  assert.deepEqual(await meet("6", added, inserted), hidden(["work"], "set", ["red"]));
  assert.deepEqual(await meet("7", edited, counted), hidden(7, "text", "long"));
  const same: Meeting = { type: "set", change: { change: "add", path, value: "work" } };
  assert.deepEqual(await meet("8", same, inserted), [], "nothing is hidden");
  const page = await a.list({ collection: "drift", conflicted: true });
  assert.deepEqual(page.documents.map(({ id }) => id).join(""), "1234567");
  await Promise.all([a.close(), b.close()]);
});

test("M2: a write of another kind replaces what its writer knew", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"), "n1");
  const kinds = [mapped, counted, added, inserted, edited, counted, inserted, added, mapped];
  for (const { type, change } of kinds) {
    await store.declare([drift(type)]);
    await write(store, changing("d", change));
    assert.deepEqual(await conflictsOf(store, "d"), [], `${type} ${change.change}`);
    const shown = { counter: 7, set: ["red"], text: "long", list: ["work"], any: { inner: 1 } };
    const { body } = (await store.read({ collection: "drift", id: "d" }))!;
    assert.equal(stable(body), stable({ x: shown[type as keyof typeof shown] }));
  }
  await store.close();
});

test("M2: a change of a field in a conflict of kinds leaves the field's own values, and settles it, on both sides at once too", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  const meet = meeting(a, b);
  const more = {
    list: (value) => ({ change: "insert", path, values: [value] }),
    set: (value) => ({ change: "add", path, value }),
    counter: (value) => ({ change: "increment", path, by: value.length }),
    text: (value) => ({ change: "edit", path, delta: [{ insert: value }] }),
  } satisfies Record<string, (value: string) => FieldChange>;
  const expected = {
    list: [
      ["more", "work"],
      ["also", "more", "work"],
    ],
    set: [
      ["more", "red"],
      ["also", "more", "red"],
    ],
    counter: [[11], [15]],
    text: [["morelong"], ["alsomorelong", "morealsolong"]],
  };
  const kinds = { list: inserted, set: added, counter: counted, text: edited };
  const bodies = async (id: string) =>
    Promise.all(
      [a, b].map(async (store) => (await store.read({ collection: "drift", id }))?.body["x"]),
    );
  const sorted = (value: unknown) => (Array.isArray(value) ? value.toSorted() : [value]);
  for (const type of ["list", "set", "counter", "text"] as const) {
    for (const [name, other] of Object.entries({ ...kinds, map: mapped })) {
      if (name === type) continue;
      const [alone, both] = [`${type}-${name}`, `${type}-${name}-both`];
      for (const id of [alone, both]) assert.equal((await meet(id, kinds[type], other))?.length, 1);
      for (const store of [a, b]) await store.declare([drift(type)]);
      await write(a, changing(alone, more[type]("more")));
      await write(a, changing(both, more[type]("more")));
      await write(b, changing(both, more[type]("also")));
      await replicate(a, b);
      await replicate(b, a);
      for (const [at, id] of [alone, both].entries()) {
        const [here, there] = await bodies(id);
        assert.deepEqual(there, here, id);
        const wanted = expected[type][at] as readonly unknown[];
        if (type === "text") assert.ok(wanted.includes(here), `${id}: ${String(here)}`);
        else assert.deepEqual(sorted(here), wanted, id);
        assert.deepEqual([await conflictsOf(a, id), await conflictsOf(b, id)], [[], []], id);
      }
    }
  }
  // A set that is hidden behind a list of the same values is no conflict, and a put goes on with the list.
  assert.deepEqual(
    await meet("same", { type: "set", change: { change: "add", path, value: "work" } }, inserted),
    [],
  );
  await a.declare([drift("list")]);
  await write(a, { collection: "drift", id: "same", do: "put", body: { x: ["work", "home"] } });
  assert.deepEqual((await bodies("same"))[0], ["work", "home"]);
  await Promise.all([a.close(), b.close()]);
});

test("M4: what a store writes by itself, which has seen no conflict, is what is read", () => {
  const made = (origin: string, type: MergeType, target: Json) => {
    const state = emptyState();
    const context: Context = {
      origin,
      sequence: 1,
      hlc: 1,
      covers: (dot) => dot.origin === origin,
    };
    applyWrite(state, { collection: "c", id: "d", verb: "edit", changes: [] }, context);
    const editor = createEditor(state, context, (at) => (at === path ? type : "register"));
    editor.become(target, path);
    return { context, changes: editor.changes };
  };
  const values = { list: ["a", "b"], set: ["p"], counter: 7, text: "long", register: { inner: 1 } };
  const targets = { list: ["a", "b", "c"], set: ["p", "q"], counter: 8, text: "longer" };
  for (const [type, target] of Object.entries(targets) as ["list", Json][])
    for (const [other, value] of Object.entries(values) as [MergeType, Json][]) {
      if (other === type) continue;
      const state = emptyState();
      for (const { context, changes } of [made("w1", type, values[type]), made("w2", other, value)])
        applyWrite(state, { collection: "c", id: "d", verb: "edit", changes }, context);
      const context: Context = { origin: "w3", sequence: 1, hlc: 2, covers: () => true };
      const editor = createEditor(state, context, (at) => (at === path ? type : "register"));
      editor.become({ x: target });
      assert.equal(stable(show(state).body), stable({ x: target }), `${type} beside ${other}`);
    }
});

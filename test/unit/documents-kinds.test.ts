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

test("M2: of values of different kinds that meet, the one that is not shown is in conflict", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  const meet = async (id: string, one: Meeting, other: Meeting) => {
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

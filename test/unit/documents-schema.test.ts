/** Nodes whose declarations differ in version, and names that nobody could ask for. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { CollectionDeclaration, DocumentWrite } from "../../src/data/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { bodyOf, openDocuments, put, replicate, write } from "../support/documents.ts";

const declared = (
  schemaVersion: number,
  paths: readonly string[],
  onMismatch: "refuse" | "warn" = "refuse",
): CollectionDeclaration => ({
  name: "parts",
  schemaVersion,
  onMismatch,
  fields: paths.map((path) => ({ path, type: "any", required: false })),
});

test("M8: a whole body of a node with an earlier schema takes away nothing that it does not know", async () => {
  using folder = temporaryFolder();
  const [later, earlier] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  await later.declare([declared(2, ["/name", "/new", "/size/mm"])]);
  await earlier.declare([declared(1, ["/name"])]);
  const parts = (id: string, body: Parameters<typeof put>[1]) => put(id, body, "parts");
  const body = { name: "bolt", new: 1, size: { mm: 8 } };
  await write(later, parts("d", body));
  await replicate(later, earlier);

  const refused = await earlier.write([parts("d", { name: "nut" })]);
  assert.equal(refused.state, "refused");
  assert.match(
    refused.state === "refused" ? refused.message : "",
    /^writes\[0\] \(parts\/d\): \/new, \/size would be removed, which schemaVersion 2 may declare/,
  );
  assert.equal((await earlier.write([parts("d", { ...body, size: {} })])).state, "refused");
  await write(earlier, parts("d", { ...body, name: "nut" }));
  await write(earlier, { collection: "parts", id: "d", do: "merge", patch: { name: null } });
  assert.equal(await bodyOf(earlier, "d", "parts"), '{"new":1,"size":{"mm":8}}');
  const taking = { collection: "parts", id: "d", do: "merge", patch: { new: null } } as const;
  await write(earlier, taking);

  await earlier.declare([declared(1, ["/name"], "warn")]);
  const { warnings } = await write(earlier, parts("d", { name: "nut" }));
  assert.match(warnings.join(), /^writes\[0\] \(parts\/d\): \/size would be removed/);
  assert.equal(await bodyOf(earlier, "d", "parts"), '{"name":"nut"}');
  await write(later, parts("f", { name: "bolt", new: 1 }));
  await replicate(later, earlier);
  assert.deepEqual((await write(earlier, parts("f", { new: 1 }))).warnings, []);
  // What is declared here, and what only this version wrote, is taken away as ever.
  await write(earlier, parts("e", { name: "x", more: 1 }));
  assert.deepEqual((await write(earlier, parts("e", {}))).warnings, []);
  await Promise.all([later.close(), earlier.close()]);
});

test("an id that a path would lose is refused, and can be deleted", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  for (const id of [".", ".."]) {
    const merge: DocumentWrite = { collection: "items", id, do: "merge", patch: {} };
    for (const wish of [put(id, {}), merge]) {
      const answer = await store.write([wish]);
      assert.deepEqual(answer.state === "refused" && [answer.code, answer.message], [
        "invalid-document",
        `writes[0].id: "${id}" is a step in a path, and no name`,
      ]);
    }
    assert.equal((await write(store, { collection: "items", id, do: "delete" })).changed, 0);
  }
  await write(store, put("...", {}), put(".a", {}));
  await store.close();
});

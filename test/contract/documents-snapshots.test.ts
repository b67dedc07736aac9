/** Logs of documents that are forgotten, and documents as they are for who lies behind one. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { encodeSnapshot } from "../../src/data/documents/snapshot.ts";
import {
  bodyOf,
  fill,
  listing,
  openDocuments,
  put,
  replicate,
  truncate,
  write,
} from "../support/documents.ts";
import { documentStores } from "../support/document-stores.ts";
import { temporaryFolder } from "../support/data.ts";

for (const { name, withStores } of documentStores) {
  test(
    `M14, M15 ${name}: who lies behind a truncated log takes the documents, and keeps what it wrote meanwhile`,
    withStores(async (first, second, third) => {
      await write(first, put("gone", { name: "x" }), put("kept", { stock: 4, tags: ["a"] }));
      await replicate(first, second);
      // Cut off from here on.
      const change = (change: object) =>
        ({ collection: "items", id: "kept", do: "change", changes: [change] }) as never;
      await write(second, change({ change: "increment", path: "/stock", by: 2 }));
      await write(second, put("mine", { name: "new" }));
      await write(first, { collection: "items", id: "gone", do: "delete" });
      await write(first, change({ change: "discard", path: "/tags", value: "a" }));
      await first.write([change({ change: "increment", path: "/stock", by: 1 })], { key: "k" });
      await write(first, put("other", { text: "y".repeat(300_000 / 2) }, "notes"));
      await write(first, put("another", { text: "z".repeat(300_000 / 2) }, "notes"));
      assert.ok((await truncate(first)) >= 6);
      assert.equal((await first.status()).logBytes, 0);
      const { origin } = await first.status();
      assert.equal(await first.log({ origin, from: 2 }), undefined);
      assert.ok((await fill(first, second)) >= 1);
      assert.equal(await bodyOf(second, "gone"), undefined);
      assert.equal(await bodyOf(second, "kept"), '{"stock":7}');
      // What only it had is there for others, from its first operation on.
      const { origin: mine } = await second.status();
      assert.equal((await second.log({ origin: mine, from: 1 }))?.to, 2);
      // By operations from here on, both ways; the key that came with the documents is known.
      await second.write([change({ change: "increment", path: "/stock", by: 1 })], { key: "k" });
      await write(first, put("later", {}));
      await replicate(second, first);
      await replicate(first, second);
      for (const collection of ["items", "notes"])
        assert.deepEqual(await listing(first, collection), await listing(second, collection));
      assert.equal(await bodyOf(first, "kept"), '{"stock":7}');
      assert.deepEqual(await first.vector(), await second.vector());
      assert.equal(await fill(first, second), 0);
      // Cut short, a newcomer goes on where it was.
      const wish = { vector: {}, force: false };
      const piece = await first.snapshots.give(wish);
      assert.equal((await third.snapshots.take(piece!)).state, "staged");
      assert.deepEqual(await listing(third, "notes"), []);
      await write(first, put("later", { name: "z" }));
      assert.ok((await fill(first, third)) >= 1);
      assert.deepEqual(await listing(third), await listing(first));
      assert.deepEqual(await third.vector(), await first.vector());
      await assert.rejects(third.snapshots.take(piece!.subarray(0, 30)), { code: "invalid-batch" });
    }),
  );
}

test("M14: a damaged piece of a snapshot is refused by its field, and changes nothing", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const state = { e: [[1, 0, 1]] };
  const whole = {
    view: "v",
    next: { changes: {}, keys: 0 },
    origins: ["n9.a"],
    keys: [],
    documents: [{ collection: "items", id: "a", state }],
  };
  for (const damage of [
    { view: "" },
    { next: {} },
    { after: { changes: { items: -1 }, keys: 0 } },
    { origins: [7] },
    { end: [{ name: "n9.a" }] },
    { documents: [{ collection: "items", id: "a" }] },
    { documents: [{ collection: "items", id: "a", state: { e: [[1, 1, 1]] } }] },
    { documents: [{ collection: "items", id: "a", state: { ...state, x: [["name", []]] } }] },
    {
      documents: [{ collection: "items", id: "a", state: { ...state, m: [["/t", [["v", [0]]]]] } }],
    },
  ])
    await assert.rejects(
      store.snapshots.take(encodeSnapshot({ ...whole, ...damage } as never)),
      { code: "invalid-batch" },
      JSON.stringify(damage),
    );
  assert.equal((await store.snapshots.place()).at, undefined);
  await store.close();
});

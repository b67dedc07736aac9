/** Copies at the hub that are made of documents, where no log goes back to what they lack. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  encodeLeavingSnapshot,
  type GlobalDocumentStore,
  type LocalDocumentStore,
} from "../../src/data/index.ts";
import {
  bodies,
  clear,
  clearSnapshot,
  globalDocuments,
  originOf,
  sendAll,
  type Policy,
} from "../support/documents-global.ts";
import { put, replicate, truncate, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

for (const { name, withParts } of globalDocuments) {
  test(
    `M12, M15 ${name}: a copy that no log goes back for is filled with the documents, and goes on by operations`,
    withParts(async ({ hub, nodes: [first, second], reopen }) => {
      await write(first, put("a", { name: "x", stock: 1 }), put("gone", {}));
      await write(first, { collection: "items", id: "gone", do: "delete" });
      await replicate(first, second);
      for (let at = 0; at < 4; at++)
        await write(first, put(`big${at}`, { name: "n", note: "y".repeat(200) }));
      await truncate(first);
      const policy = { keep: ["name"] };
      const fillWith = async (
        to: GlobalDocumentStore,
        from: LocalDocumentStore,
        egress: Policy,
      ) => {
        let after: Parameters<LocalDocumentStore["readLeavingSnapshot"]>[0]["after"];
        for (;;) {
          const bytes = clearSnapshot(from, egress, { after, bytesMax: 300 });
          const answer = await to.fill("a", bytes);
          if (answer.state !== "staged") return answer;
          after = answer.at;
        }
      };
      const piece = clearSnapshot(first, policy, { bytesMax: 100 });
      const staged = await hub.fill("a", piece);
      assert.ok(staged.state === "staged");
      assert.deepEqual(await bodies(hub), []);
      // Somebody else waits; after a start of the hub the same node goes on.
      assert.equal((await hub.fill("a", clearSnapshot(second, policy, {}))).state, "busy");
      let store = await reopen();
      const rest = clearSnapshot(first, policy, { after: staged.at, bytesMax: 1e6 });
      const open = await store.fill("a", rest);
      assert.ok(open.state === "open");
      assert.deepEqual(open.tops, await first.vector());
      assert.equal((await store.fill("a", rest)).state, "elsewhere");
      const big = ["0", "1", "2", "3"].map((at) => `a/big${at} {"name":"n"}`);
      assert.deepEqual(await bodies(store), ['a/a {"name":"x"}', ...big]);
      await write(first, put("a", { name: "y", stock: 2 }));
      const origin = await originOf(first);
      await store.ingest(
        "a",
        clear(first, { items: policy }, { origin, from: open.tops[origin]! + 1 }),
      );
      assert.equal((await bodies(store))[0], 'a/a {"name":"y"}');
      // What only the copy before has is taken over as it is there, less what stays now.
      await write(second, put("b", { name: "of another", note: "z" }));
      await sendAll(second, store, { items: policy });
      store = await reopen({ graceMs: 1 });
      const wider = await fillWith(store, first, { keep: ["name", "note"], revision: 2 });
      assert.equal(wider.state, "open");
      await waitFor(async () => (await store.collections()).every(({ renewing }) => !renewing), {
        what: "the copy by the later policy to be shown",
      });
      const now = await bodies(store);
      assert.ok(now.includes('a/b {"name":"of another"}'), now.join());
      assert.ok(now.includes(`a/big0 {"name":"n","note":"${"y".repeat(200)}"}`));
      assert.equal((await fillWith(store, first, policy)).state, "superseded");
      const leak = encodeLeavingSnapshot({
        ...first.readLeavingSnapshot({ collection: "items" })!,
        collection: "items",
        egress: { policy, revision: 3 },
      });
      await assert.rejects(store.fill("a", leak), { code: "egress-violated" });
    }),
  );
}

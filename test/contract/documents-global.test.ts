/** One suite for every GlobalDocumentStore: the hub's store of documents in place, and across a thread. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import { encodeLeaving, type GlobalDocumentStore } from "../../src/data/index.ts";
import { shapeOf } from "../../src/data/documents/leaving.ts";
import { bodies, clear, globalDocuments, originOf, sendAll } from "../support/documents-global.ts";
import { put, replicate, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";
import { globalQueries } from "./global-queries.ts";

for (const kind of globalDocuments) {
  const { name, withParts } = kind;
  globalQueries(kind);
  test(
    `D2, M12 ${name}: a batch counts once, a gap changes nothing, and all of it is there after a start`,
    withParts(async ({ hub, nodes: [node], reopen }) => {
      await write(node, put("a", { name: "x", stock: 1 }));
      await write(node, put("n", { text: "stays" }, "notes"));
      await write(node, {
        collection: "items",
        id: "a",
        do: "change",
        changes: [{ change: "increment", path: "/stock", by: 2 }],
      });
      const origin = await originOf(node);
      const policies = { items: { keep: ["stock"] } };
      const gap = await hub.ingest("a", clear(node, policies, { origin, from: 2 }));
      assert.deepEqual(gap["items"], { state: "open", tops: { [origin]: 0 } });
      for (const to of [1, 3, 2, 3]) {
        const states = await hub.ingest("a", clear(node, policies, { origin, to }));
        assert.deepEqual(states["items"], {
          state: "open",
          tops: { [origin]: to === 1 ? 1 : 3 },
        });
      }
      const check = async (store: GlobalDocumentStore) => {
        assert.deepEqual(await bodies(store), ['a/a {"stock":3}']);
        const wish = { ...shapeOf({ policy: policies.items }), revision: 1 };
        assert.deepEqual(await store.feeds("a", { items: wish }), {
          items: { state: "open", tops: { [origin]: 3 } },
        });
      };
      await check(hub);
      await check(await reopen());
    }),
  );

  test(
    `M8, M10 ${name}: what waits for a cause that another node sends is shown behind it, whole batches at once`,
    withParts(async ({ hub, nodes: [first, second] }) => {
      const policies = { items: { drop: [] }, notes: { keep: ["text"] } };
      await write(first, put("a", { name: "x" }));
      await replicate(first, second);
      await write(second, put("a", { name: "y" }), put("n", { text: "t", by: 1 }, "notes"));
      const [one, two] = await Promise.all([first, second].map(originOf));
      assert.ok(one && two);
      await hub.ingest("a", clear(second, policies, { origin: two }));
      assert.deepEqual(await bodies(hub), []);
      const [items, notes] = await hub.collections("a");
      assert.deepEqual([items?.waiting, notes?.waiting], [1, 1]);
      await hub.ingest("a", clear(first, policies, { origin: one }));
      assert.deepEqual(await bodies(hub), ['a/a {"name":"y"}']);
      const note = await hub.read({ collection: "notes", cell: "a", id: "n" });
      assert.equal(stable(note?.body), '{"text":"t"}');
      assert.equal(note?.version, (await second.read({ collection: "notes", id: "n" }))?.version);
    }),
  );

  test(
    `M12 ${name}: a later egress fills a new copy behind the old one; an earlier one is superseded`,
    withParts(async ({ hub, nodes: [node], countOf }) => {
      for (const id of ["a", "b"]) await write(node, put(id, { name: id, stock: 1 }));
      const origin = await originOf(node);
      await sendAll(node, hub, { items: { keep: ["name"] } });
      const wide = { items: { keep: ["name", "stock"], revision: 2 } };
      await hub.ingest("a", clear(node, wide, { origin, to: 1 }));
      assert.deepEqual(await bodies(hub), ['a/a {"name":"a"}', 'a/b {"name":"b"}']);
      assert.equal((await hub.collections("a"))[0]?.renewing, true);
      // A node that has not heard of it goes on with the old copy while that is shown.
      await write(node, put("c", { name: "c", stock: 1 }));
      await hub.ingest("a", clear(node, { items: { keep: ["name"] } }, { origin, from: 3 }));
      assert.equal((await bodies(hub)).length, 3);
      await sendAll(node, hub, wide);
      assert.deepEqual(
        await bodies(hub),
        ["a", "b", "c"].map((id) => `a/${id} {"name":"${id}","stock":1}`),
      );
      assert.equal((await hub.collections("a"))[0]?.renewing, false);
      const late = await sendAll(node, hub, { items: { keep: ["name"] } });
      assert.deepEqual(late, { items: { state: "superseded" } });
      const wish = { ...shapeOf({ policy: { keep: ["name"] } }), revision: 1 };
      assert.deepEqual(await hub.feeds("a", { items: wish }), { items: { state: "superseded" } });
      // What the old copy held is gone, in steps.
      await waitFor(async () => (await countOf("SELECT count(*) AS n FROM feed")) === 1, {
        what: "the old copy to be removed",
      });
      assert.equal(await countOf("SELECT count(*) AS n FROM document"), 3);
      // Back to the policy of before, as a later revision: a copy of its own again.
      await sendAll(node, hub, { items: { keep: ["name"], revision: 3 } });
      assert.deepEqual((await bodies(hub))[0], 'a/a {"name":"a"}');
    }),
  );

  test(
    `M12 ${name}: what only the old copy has is taken over in the end, less what stays now`,
    withParts(
      async ({ hub, nodes: [first, second], reopen }) => {
        await write(first, put("a", { name: "a", stock: 1, size: 1 }));
        await replicate(first, second);
        await write(first, put("b", { name: "b", stock: 2, size: 2 }));
        await sendAll(first, hub, { items: { keep: ["name", "stock"] } });
        // The first is lost for good; the second never had its last write.
        await sendAll(second, hub, { items: { keep: ["name", "size"], revision: 2 } });
        assert.equal((await hub.collections("a"))[0]?.renewing, true);
        assert.equal((await bodies(hub)).length, 2);
        const settled = await reopen({ graceMs: 0 });
        await sendAll(second, settled, { items: { keep: ["name", "size"], revision: 2 } });
        await waitFor(async () => (await settled.collections("a"))[0]?.renewing === false, {
          what: "the new copy to be shown",
        });
        assert.deepEqual(await bodies(settled), ['a/a {"name":"a","size":1}', 'a/b {"name":"b"}']);
      },
      { graceMs: 3_600_000 },
    ),
  );

  test(
    `${name}: lists go by cell and id in pages; cells do not see each other's`,
    withParts(async ({ hub, nodes: [first, second] }) => {
      for (const id of ["a", "b", "c"]) await write(first, put(id, { name: id }));
      for (const id of ["b", "d"]) await write(second, put(id, { name: id }));
      const policies = { items: { keep: ["name"] } };
      await sendAll(first, hub, policies, "east");
      await sendAll(second, hub, policies, "west");
      for (const limit of [1, 2, 3, 5, 100]) {
        const found: string[] = [];
        for (let after: string | undefined; ;) {
          const query = { collection: "items", limit, ...(after === undefined ? {} : { after }) };
          const page = await hub.list(query);
          assert.ok(page.documents.length <= limit);
          found.push(...page.documents.map(({ cell, id }) => `${cell}/${id}`));
          if (page.next === undefined) break;
          after = page.next;
        }
        assert.deepEqual(found, ["east/a", "east/b", "east/c", "west/b", "west/d"]);
      }
      const ofBoth = await hub.list({ collection: "items", id: "b" });
      assert.deepEqual(
        ofBoth.documents.map(({ cell }) => cell),
        ["east", "west"],
      );
      assert.equal((await bodies(hub, { cell: "west" })).length, 2);
      for (const [query, code] of [
        [{ collection: "items", limit: 0 }, "invalid-limit"],
        [{ collection: "items", after: "x" }, "invalid-cursor"],
        [{ collection: "none" }, "collection-unknown"],
        [{ collection: "items", cell: "north" }, "collection-unknown"],
      ] as const)
        await assert.rejects(hub.list(query), { code });
    }),
  );

  test(
    `P6 ${name}: what breaks its policy, or cannot be read, is refused whole`,
    withParts(async ({ hub, nodes: [node] }) => {
      await write(node, put("a", { name: "x", stock: 1 }));
      const origin = await originOf(node);
      const piece = node.readLeaving({ origin, from: 1 });
      assert.ok(piece);
      const collections = { items: { policy: { keep: ["name"] }, revision: 1 } };
      const leak = encodeLeaving({ ...piece, collections });
      await assert.rejects(hub.ingest("a", leak), { code: "egress-violated" });
      for (const broken of [
        new Uint8Array(),
        leak.subarray(0, leak.length - 3),
        encodeLeaving({ ...piece, to: 7, collections }),
        encodeLeaving({ ...piece, collections: { items: { policy: { all: 1 } } } as never }),
      ])
        await assert.rejects(hub.ingest("a", broken), { code: "invalid-batch" });
      assert.deepEqual(await hub.collections(), []);
    }),
  );
}

/** Collections that are written at the hub and read in cells. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { GlobalDocumentStore, LocalDocumentStore } from "../../src/data/index.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { stable } from "../../src/lib/stable.ts";
import { globalDocuments, sendAll } from "../support/documents-global.ts";
import { listing, put, write } from "../support/documents.ts";

async function pullInto(
  node: LocalDocumentStore,
  store: GlobalDocumentStore,
  cell: string,
  collection = "prices",
): Promise<void> {
  for (;;) {
    const query = { cell, collections: [collection], vector: await node.vector() };
    const bytes = await store.pull(query);
    if (!bytes) return;
    await node.apply(bytes);
  }
}

for (const { name, withParts } of globalDocuments) {
  test(
    `M13 ${name}: what is written at the hub is in the cells that match, as it is now, and nowhere else`,
    withParts(async ({ hub, nodes: [first, second], reopen }) => {
      const at = (id: string) => ({ collection: "prices", id });
      const price = (id: string, body: JsonObject) => ({ ...at(id), do: "put", body }) as const;
      const pricesAt = (node: LocalDocumentStore) => listing(node, "prices");
      const idsAt = async (node: LocalDocumentStore) =>
        (await node.list({ collection: "prices" })).documents.map(({ id }) => id);

      await assert.rejects(hub.read(at("bolt")), { code: "invalid-query" });
      assert.equal((await hub.write([price("bolt", {})])).state, "refused");
      assert.equal(
        await hub.pull({ cell: "east", collections: ["prices"], vector: {} }),
        undefined,
      );
      await hub.publish({ name: "prices", cellField: "/cells" });
      for (const id of ["bolt", "nut", "pin"])
        await hub.write([price(id, { euro: id.length, cells: ["east", "west"] })]);
      await pullInto(first, hub, "east");
      await pullInto(second, hub, "west");
      assert.deepEqual(await idsAt(first), ["bolt", "nut", "pin"]);
      assert.equal((await first.read(at("bolt")))?.body["euro"], 4);

      // Edited, moved and deleted while one cell is away: it gets what is so now.
      await hub.write([{ ...at("bolt"), do: "merge", patch: { euro: 5 } }]);
      await hub.write([{ ...at("nut"), do: "merge", patch: { cells: ["west"] } }]);
      await hub.write([{ ...at("pin"), do: "delete" }]);
      await pullInto(second, hub, "west");
      assert.deepEqual(await idsAt(second), ["bolt", "nut"]);
      const store = await reopen();
      await pullInto(first, store, "east");
      assert.deepEqual(await idsAt(first), ["bolt"]);
      assert.equal((await first.read(at("bolt")))?.body["euro"], 5);
      assert.deepEqual((await first.read(at("bolt")))?.conflicts, []);
      assert.deepEqual(
        (await store.list({ collection: "prices", cell: "east" })).documents.map(({ id }) => id),
        ["bolt"],
      );
      assert.equal((await store.list({ collection: "prices" })).documents.length, 2);
      assert.equal((await store.read(at("nut")))?.cell, undefined);

      // Another node of the cell has it by replication, and asks for no more.
      const before = await first.vector();
      assert.equal(
        await store.pull({ cell: "east", collections: ["prices"], vector: before }),
        undefined,
      );
      // Another filter: every document is looked at again.
      await store.publish({ name: "prices", cells: ["east"] });
      await pullInto(first, store, "east");
      await pullInto(second, store, "west");
      assert.deepEqual(await idsAt(first), ["bolt", "nut"]);
      assert.deepEqual(await pricesAt(second), []);
      // Back again, as a document that was gone.
      await store.publish({ name: "prices" });
      await pullInto(second, store, "west");
      assert.deepEqual(await idsAt(second), ["bolt", "nut"]);
      assert.deepEqual(await pricesAt(second).then((lines) => lines.length), 2);

      const ahead = Object.fromEntries(Object.entries(before).map(([name]) => [name, 9999]));
      await assert.rejects(store.pull({ cell: "east", collections: ["prices"], vector: ahead }), {
        code: "hub-rolled-back",
      });
      assert.deepEqual(await store.publications(), [{ name: "prices" }]);
      const states = await sendAll(first, store, { prices: { drop: [] } });
      assert.deepEqual(states, { prices: { state: "superseded" } });
    }),
  );

  test(
    `M18 ${name}: what cells and the hub write is one document in the cells that match, with what was not sent yet`,
    withParts(async ({ hub, nodes: [first, second], reopen }) => {
      const fromCells = {
        fields: [
          { path: "/stock", type: "counter" },
          { path: "/tags", type: "set" },
        ],
      } as const;
      const policies = { items: { drop: ["secret"] } };
      const at = { collection: "items", id: "a" };
      const count = (by: number) =>
        ({ ...at, do: "change", changes: [{ change: "increment", path: "/stock", by }] }) as const;
      const bodyOf = async (store: Pick<LocalDocumentStore, "read">) =>
        stable((await store.read(at))?.body ?? null);
      let store = hub;
      const meet = async () => {
        for (let turn = 0; turn < 2; turn++) {
          await sendAll(first, store, policies, "east");
          await sendAll(second, store, policies, "west");
          await pullInto(first, store, "east", "items");
          await pullInto(second, store, "west", "items");
        }
      };
      // Sent before the hub declares it: taken over with what comes next.
      const cells = ["east", "west"];
      await write(first, put("a", { name: "bolt", stock: 4, cells, secret: "s" }));
      await sendAll(first, store, policies, "east");
      await assert.rejects(store.publish({ name: "items" }), { code: "collection-of-cells" });
      await store.publish({ name: "items", cellField: "/cells", fromCells });
      await meet();
      const body = (stock: number, more = "") =>
        `{"cells":["east","west"],"name":"bolt"${more},"stock":${stock}}`;
      assert.equal(await bodyOf(second), body(4));
      // Everybody counts, before anybody hears of the others.
      await write(first, count(2));
      await write(second, count(3));
      await store.write([count(10)]);
      await meet();
      store = await reopen();
      assert.equal(await bodyOf(store), body(19));
      assert.equal(await bodyOf(second), body(19));
      assert.equal(await bodyOf(first), body(19, ',"secret":"s"'));
      // Away from one cell, while that has something to tell.
      await write(first, count(1), put("mine", { name: "of nobody" }));
      await store.write([{ ...at, do: "merge", patch: { cells: ["west"] } }]);
      await pullInto(first, store, "east", "items");
      // With what it never told anybody.
      assert.equal(await bodyOf(first), '{"secret":"s","stock":1}');
      await meet();
      assert.equal(await bodyOf(first), "null");
      assert.equal(await bodyOf(second), '{"cells":["west"],"name":"bolt","stock":20}');
      assert.deepEqual(
        (await store.list({ collection: "items" })).documents.map(({ id }) => id),
        ["a", "mine"],
      );
      assert.deepEqual(await listing(first), []);
      assert.deepEqual((await store.publications())[0]?.fromCells, fromCells);
      assert.deepEqual(
        (await store.collections()).map(({ cell, documents }) => [cell, documents]),
        [
          [undefined, 2],
          ["east", 0],
          ["west", 1],
        ],
      );
      await write(second, { ...at, do: "delete" });
      await meet();
      assert.equal(await bodyOf(store), "null");
    }),
  );
}

/** One suite for every GlobalDocumentStore: the hub's store of documents in place, and across a thread. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { stable, type EgressPolicy } from "../../src/api/index.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import {
  connectGlobalDocuments,
  encodeLeaving,
  encodeLeavingSnapshot,
  openGlobalDocuments,
  serveGlobalDocuments,
  type FeedStates,
  type GlobalDocumentMethods,
  type GlobalDocumentStore,
  type LocalDocumentStore,
} from "../../src/data/index.ts";
import { shapeOf } from "../../src/data/documents/leaving.ts";
import { decodeError, encodeError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationGate, createOperationRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { listing, openDocuments, put, replicate, truncate, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

type Options = { graceMs?: number };

const openHere = (path: string, options: Options = {}): GlobalDocumentStore =>
  openGlobalDocuments(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      recheck: createOperationRecheck(),
    },
    { path, sweepPeriodMs: 20, ...options },
  );

/** As a thread carries it: everything is cloned, errors go through the codec. */
function acrossThread(path: string, options?: Options): GlobalDocumentStore {
  const listeners = new Set<() => void>();
  const methods = serveGlobalDocuments(openHere(path, options), () => {
    for (const listener of listeners) listener();
  });
  const on = (_name: string, listener: () => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const call = async (name: keyof GlobalDocumentMethods, argument: never) => {
    try {
      return structuredClone(await methods[name](structuredClone(argument)));
    } catch (error) {
      throw decodeError(structuredClone(encodeError(error)));
    }
  };
  return connectGlobalDocuments({ call, on } as unknown as Parameters<
    typeof connectGlobalDocuments
  >[0]);
}

type Policy = EgressPolicy & { readonly revision?: number };

const operationGate = () =>
  createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });

/** What a node sends of its log of one origin. */
function clear(
  node: LocalDocumentStore,
  policies: Readonly<Record<string, Policy>>,
  query: { origin: string; from?: number; to?: number },
): Uint8Array {
  const gate = operationGate();
  gate.setPolicies(
    Object.fromEntries(
      Object.entries(policies).map(([name, { revision = 1, ...policy }]) => [
        name,
        { policy, revision },
      ]),
    ),
  );
  const piece = node.readLeaving({ from: 1, ...query });
  assert.ok(piece);
  const cleared = gate.clear(piece, Object.keys(policies));
  assert.ok(cleared);
  return cleared.bytes;
}

/** A piece of what a node sends of its documents. */
function clearSnapshot(
  node: LocalDocumentStore,
  { revision = 1, ...policy }: Policy,
  query: Omit<Parameters<LocalDocumentStore["readLeavingSnapshot"]>[0], "collection">,
): Uint8Array {
  const gate = operationGate();
  gate.setPolicies({ items: { policy, revision } });
  const piece = node.readLeavingSnapshot({ collection: "items", ...query });
  const cleared = piece && gate.clearSnapshot(piece, "items");
  assert.ok(cleared);
  return cleared;
}

async function sendAll(
  node: LocalDocumentStore,
  hub: GlobalDocumentStore,
  policies: Readonly<Record<string, Policy>>,
  cell = "a",
): Promise<FeedStates> {
  let states: FeedStates = {};
  for (const origin of Object.keys(await node.vector()))
    states = await hub.ingest(cell, clear(node, policies, { origin }));
  return states;
}

const bodies = async (hub: GlobalDocumentStore, query: { cell?: string } = {}) => {
  const { documents } = await hub.list({ collection: "items", ...query });
  return documents.map(({ cell, id, body }) => `${cell}/${id} ${stable(body)}`);
};
const originOf = async (node: LocalDocumentStore) => (await node.status()).origin;

for (const [name, open] of [
  ["sqlite", openHere],
  ["across a thread", acrossThread],
] as const) {
  const withParts =
    (
      run: (parts: {
        hub: GlobalDocumentStore;
        nodes: readonly [LocalDocumentStore, LocalDocumentStore];
        path: string;
        reopen(options?: Options): Promise<GlobalDocumentStore>;
      }) => Promise<void>,
      options?: Options,
    ) =>
    async (): Promise<void> => {
      using folder = temporaryFolder();
      const path = join(folder.path, "hub.db");
      let hub = open(path, options);
      const nodes = [
        await openDocuments(join(folder.path, "1.db"), "n1"),
        await openDocuments(join(folder.path, "2.db"), "n2"),
      ] as const;
      const reopen = async (again?: Options) => {
        await hub.close();
        return (hub = open(path, again));
      };
      try {
        await run({ hub, nodes, path, reopen });
      } finally {
        await hub.close();
        for (const node of nodes) await node.close();
      }
    };

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
    withParts(async ({ hub, nodes: [node], path }) => {
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
      await waitFor(() => countOf(path, "SELECT count(*) AS n FROM feed") === 1, {
        what: "the old copy to be removed",
      });
      assert.equal(countOf(path, "SELECT count(*) AS n FROM document"), 3);
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
    `M13 ${name}: what is written at the hub is in the cells that match, as it is now, and nowhere else`,
    withParts(async ({ hub, nodes: [first, second], reopen }) => {
      const pullInto = async (
        node: LocalDocumentStore,
        store: GlobalDocumentStore,
        cell: string,
      ) => {
        for (;;) {
          const query = { cell, collections: ["prices"], vector: await node.vector() };
          const bytes = await store.pull(query);
          if (!bytes) return;
          await node.apply(bytes);
        }
      };
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

function countOf(path: string, sql: string): number {
  const db = openDatabase(path);
  try {
    return Number(db.prepare(sql).get()?.["n"]);
  } finally {
    db.close();
  }
}

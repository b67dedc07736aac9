/** The contract of a store of documents, for the store itself and for its two halves across a thread. */
import { strict as assert } from "node:assert";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import {
  connectDocumentStore,
  encodeLeaving,
  encodeLeavingSnapshot,
  serveDocumentStore,
  type DocumentMethods,
  type DocumentsGrown,
  type DocumentStore,
} from "../../src/data/index.ts";
import { decodeError, encodeError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationGate } from "../../src/privacy/gate/index.ts";
import { encodeSnapshot } from "../../src/data/documents/snapshot.ts";
import { markerPath } from "../../src/data/streams/identity.ts";
import {
  bodyOf,
  items,
  listing,
  notes,
  openDocuments,
  fill,
  put,
  replicate,
  truncate,
  write,
} from "../support/documents.ts";
import { temporaryFolder } from "../support/data.ts";

/** As a thread carries it: everything is cloned, errors go through the codec. */
async function acrossThread(path: string, node = "n1"): Promise<DocumentStore> {
  const listeners = new Set<(grown: DocumentsGrown) => void>();
  const store = await openDocuments(path, node);
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });
  const methods = serveDocumentStore({ store, gate }, (_name, grown) => {
    for (const listener of listeners) listener(structuredClone(grown));
  });
  const call = async (name: keyof DocumentMethods, argument: never) => {
    try {
      return structuredClone(await methods[name](structuredClone(argument)));
    } catch (error) {
      throw decodeError(structuredClone(encodeError(error)));
    }
  };
  const on = (_name: string, listener: (grown: DocumentsGrown) => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const thread = { call, on } as unknown as Parameters<typeof connectDocumentStore>[0];
  const connected = connectDocumentStore(thread, { node });
  await connected.declare([items, notes]);
  return connected;
}

for (const [name, open] of [
  ["sqlite", openDocuments],
  ["across a thread", acrossThread],
] as const) {
  const withStores =
    (run: (...stores: DocumentStore[]) => Promise<void>) => async (): Promise<void> => {
      using folder = temporaryFolder();
      const stores: DocumentStore[] = [];
      for (let index = 0; index < run.length; index++)
        stores.push(await open(join(folder.path, `${index}.db`), `n${index + 1}`));
      await run(...stores);
      for (const store of stores) await store.close();
    };

  test(
    `${name}: documents are put, patched, changed, read and deleted`,
    withStores(async (store) => {
      const body = { name: "bolt", stock: 5, tags: ["b", "a"], steps: ["x", "y"], size: { mm: 8 } };
      assert.equal((await write(store, put("a1", body))).changed, 1);
      assert.equal(
        await bodyOf(store, "a1"),
        '{"name":"bolt","size":{"mm":8},"steps":["x","y"],"stock":5,"tags":["a","b"]}',
      );
      await write(store, {
        collection: "items",
        id: "a1",
        do: "merge",
        patch: { size: { mm: null, inch: 1 } },
      });
      await write(store, {
        collection: "items",
        id: "a1",
        do: "change",
        changes: [
          { change: "increment", path: "/stock", by: -2 },
          { change: "add", path: "/tags", value: "c" },
          { change: "discard", path: "/tags", value: "a" },
          { change: "insert", path: "/steps", index: 1, values: ["m"] },
          { change: "delete", path: "/steps", index: 0 },
          { change: "set", path: "/size/mm", value: 9 },
          { change: "remove", path: "/name" },
        ],
      });
      assert.equal(
        await bodyOf(store, "a1"),
        '{"size":{"inch":1,"mm":9},"steps":["m","y"],"stock":3,"tags":["b","c"]}',
      );
      assert.equal(
        (await write(store, { collection: "items", id: "a1", do: "delete" })).changed,
        1,
      );
      assert.equal(await bodyOf(store, "a1"), undefined);
      await write(store, put("a1", { stock: 1 }));
      assert.equal(await bodyOf(store, "a1"), '{"stock":1}');
    }),
  );

  test(
    `M6 ${name}: the same request again changes nothing, a counted one when it carries a key`,
    withStores(async (store) => {
      const requests = [put("a1", { name: "x", tags: ["t"] }), put("a2", {})];
      await write(store, ...requests);
      assert.equal((await write(store, ...requests)).changed, 0);
      const gone = { collection: "items", id: "a2", do: "delete" } as const;
      await write(store, gone);
      assert.equal((await write(store, gone)).changed, 0);
      const more = {
        collection: "items",
        id: "a1",
        do: "change",
        changes: [{ change: "increment", path: "/stock", by: 1 }],
      } as const;
      for (const key of ["k1", "k1", "k2"]) await store.write([more], { key });
      assert.equal(await bodyOf(store, "a1"), '{"name":"x","stock":2,"tags":["t"]}');
    }),
  );

  test(
    `M7 ${name}: a batch is written whole or not at all, and told to others whole`,
    withStores(async (first, second) => {
      const answer = await first.write([
        put("a1", { name: "x" }),
        { ...put("a2", {}), body: { name: 3 } },
      ] as never);
      assert.equal(answer.state, "refused");
      assert.match(
        answer.state === "refused" ? answer.message : "",
        /writes\[1\].*\/name: 3 must be text/,
      );
      assert.deepEqual(await listing(first), []);
      await write(first, put("a1", { name: "x" }), put("a2", { name: "y" }));
      const grown: string[][] = [];
      second.on("grown", ({ collections }) => grown.push([...collections]));
      await replicate(first, second, 1);
      assert.deepEqual(await listing(second), await listing(first));
      assert.deepEqual(grown, [["items"]]);
    }),
  );

  test(
    `${name}: what does not fit is refused by name, or taken with a warning; unknown fields stay`,
    withStores(async (store) => {
      const refusal = async (...writes: unknown[]) => {
        const answer = await store.write(writes as never);
        return answer.state === "refused" ? `${answer.code} ${answer.message}` : answer.state;
      };
      const change = (...changes: unknown[]) => ({
        collection: "items",
        id: "a",
        do: "change",
        changes,
      });
      assert.match(
        await refusal({ ...put("a", {}), collection: "itms" }),
        /^collection-unknown .*"itms"/,
      );
      assert.match(await refusal(put("", {})), /^invalid-document writes\[0\]\.id/);
      assert.match(await refusal(put("a\u0000", {})), /^invalid-document writes\[0\]\.id/);
      assert.match(await refusal(put("a", [] as never)), /^invalid-document writes\[0\]\.body/);
      assert.match(await refusal(put("a", { n: 1 / 0 })), /^invalid-document .*1\.8e308/);
      assert.match(await refusal(put("a", { x: "y".repeat(300_000) })), /^document-too-large/);
      assert.match(
        await refusal(change({ change: "increment", path: "/name", by: 1 })),
        /declared as string/,
      );
      assert.match(
        await refusal(change({ change: "set", path: "name", value: 1 })),
        /JSON pointer/,
      );
      assert.match(await refusal(change({ change: "turn", path: "/name" })), /must be set, remove/);
      assert.match(
        await refusal(...Array.from({ length: 1001 }, () => put("a", {}))),
        /^batch-too-large/,
      );
      const warned = await write(store, put("n", { extra: true, ["__proto__"]: 1 }, "notes"));
      assert.deepEqual(warned.warnings, ["writes[0] (notes/n): /text is required"]);
      const found = await store.read({ collection: "notes", id: "n" });
      assert.equal(stable(found?.body), '{"__proto__":1,"extra":true}');
      assert.equal(found?.schemaVersion, 3);
    }),
  );

  test(
    `${name}: lists go by id in pages, changes by cursor, each document once`,
    withStores(async (store) => {
      for (const id of ["b", "a", "d", "c", "é"]) await write(store, put(id, { name: id }));
      const first = await store.list({ collection: "items", limit: 3 });
      assert.deepEqual(
        first.documents.map(({ id }) => id),
        ["a", "b", "c"],
      );
      const rest = await store.list({ collection: "items", after: first.next });
      assert.deepEqual([rest.documents.map(({ id }) => id), rest.next], [["d", "é"], undefined]);
      const begin = await store.changes({ collection: "items", limit: 4 });
      assert.deepEqual(
        begin.changes.map(({ id }) => id),
        ["b", "a", "d", "c"],
      );
      await write(store, put("b", { name: "again" }), {
        collection: "items",
        id: "d",
        do: "delete",
      });
      const { changes, more } = await store.changes({ collection: "items", since: begin.cursor });
      assert.deepEqual(
        changes.map(({ id, deleted }) => [id, deleted]),
        [
          ["é", false],
          ["b", false],
          ["d", true],
        ],
      );
      assert.equal(more, false);
      await assert.rejects(store.changes({ collection: "items", since: "other.3" }), {
        code: "invalid-cursor",
      });
      await assert.rejects(store.list({ collection: "items", limit: 0 }), {
        code: "invalid-limit",
      });
      await assert.rejects(store.list({ collection: "nothing" }), { code: "collection-unknown" });
    }),
  );

  test(
    `M1, M2 ${name}: stores that wrote apart are equal afterwards, and keep what was not shown`,
    withStores(async (first, second, third) => {
      await write(first, put("a", { name: "n", stock: 10, tags: ["t"], steps: ["1", "2"] }));
      await replicate(first, second);
      const change = (changes: unknown) =>
        ({ collection: "items", id: "a", do: "change", changes }) as never;
      await write(
        first,
        change([
          { change: "increment", path: "/stock", by: -3 },
          { change: "set", path: "/name", value: "one" },
        ]),
      );
      await write(
        second,
        change([
          { change: "increment", path: "/stock", by: 5 },
          { change: "set", path: "/name", value: "two" },
        ]),
      );
      await write(
        first,
        change([
          { change: "discard", path: "/tags", value: "t" },
          { change: "insert", path: "/steps", values: ["3"] },
        ]),
      );
      await write(
        second,
        change([
          { change: "add", path: "/tags", value: "t" },
          { change: "insert", path: "/steps", values: ["4"] },
        ]),
      );
      // The third hears of the second's work first, which knew of the first's.
      await replicate(second, third, 1);
      await replicate(first, third, 1);
      await replicate(third, first, 1);
      await replicate(first, second, 1);
      const [document] = (await first.list({ collection: "items", conflicted: true })).documents;
      assert.deepEqual([document?.body["stock"], document?.body["tags"]], [12, ["t"]]);
      assert.deepEqual([...((document?.body["steps"] ?? []) as string[])].sort(), [
        "1",
        "2",
        "3",
        "4",
      ]);
      assert.deepEqual(
        document?.conflicts.map(({ path }) => path),
        ["/name"],
      );
      for (const store of [second, third])
        assert.deepEqual(await listing(store), await listing(first));
      const held = async () =>
        (await third.status()).collections.find(({ name }) => name === "items");
      assert.deepEqual(await held(), { name: "items", documents: 1, conflicted: 1 });
      const shown = document?.body["name"] as string;
      await write(third, change([{ change: "set", path: "/name", value: shown }]));
      assert.deepEqual((await third.list({ collection: "items", conflicted: true })).documents, []);
      assert.deepEqual(await held(), { name: "items", documents: 1, conflicted: 0 });
      await write(third, { collection: "items", id: "a", do: "delete" });
      assert.deepEqual(await held(), { name: "items", documents: 0, conflicted: 0 });
    }),
  );

  test(
    `M8 ${name}: an operation waits for what its writer knew, and pieces come twice or not at all`,
    withStores(async (first, second, third) => {
      await write(first, put("a", { name: "1" }));
      await replicate(first, second);
      await write(second, put("a", { name: "2" }));
      const [origin] = Object.keys(await second.vector()).filter((each) => each.startsWith("n2."));
      const late = await second.log({ origin: origin!, from: 1 });
      assert.equal((await third.apply(late!.bytes)).top, 1);
      assert.equal((await third.apply(late!.bytes)).stored, 0);
      assert.equal(await bodyOf(third, "a").catch(({ code }) => code), undefined);
      assert.equal((await third.status()).waiting, 1);
      await write(second, put("a", { name: "3" }), put("b", {}));
      await write(second, put("a", { name: "4" }));
      const beyond = await second.log({ origin: origin!, from: 3 });
      assert.equal((await third.apply(beyond!.bytes)).state, "gap");
      await assert.rejects(third.apply(beyond!.bytes.subarray(0, 30)), { code: "invalid-batch" });
      await assert.rejects(third.apply(Buffer.from("SKD1nonsense")), { code: "invalid-batch" });
      await replicate(first, third);
      assert.equal(await bodyOf(third, "a"), '{"name":"2"}');
      await replicate(second, third);
      assert.deepEqual(await listing(third), await listing(second));
      assert.equal((await third.status()).waiting, 0);
    }),
  );

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

test("D7, M15: a store rolled back unawares, with a truncated log, gets its documents from a peer", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "a.db");
  const store = await openDocuments(path);
  const peer = await openDocuments(join(folder.path, "peer.db"), "n2");
  await write(store, put("a", { name: "1", stock: 4 }));
  await replicate(store, peer);
  await write(peer, put("b", { name: "of the peer" }));
  await replicate(peer, store);
  await truncate(store);
  await truncate(peer);
  await write(store, put("a", { name: "3", stock: 7 }));
  const { origin } = await store.status();
  const { rotated } = await store.observe({ ...(await peer.vector()), [origin]: 9 });
  assert.deepEqual([rotated, (await store.snapshots.place()).isNeeded], [true, true]);
  assert.equal(await store.snapshots.give({ vector: {}, force: true }), undefined);
  await fill(peer, store, true);
  assert.equal((await store.snapshots.place()).isNeeded, false);
  assert.equal(await bodyOf(store, "a"), '{"name":"3","stock":7}');
  await replicate(store, peer);
  assert.deepEqual(await listing(store), await listing(peer));
  await Promise.all([store.close(), peer.close()]);
});

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

test("D7: a copy of the file goes on under a new origin, and what both wrote is kept", async () => {
  using folder = temporaryFolder();
  const [path, copy] = [join(folder.path, "a.db"), join(folder.path, "b.db")];
  let store = await openDocuments(path);
  await write(store, put("a", { name: "before" }));
  await store.close();
  copyFileSync(path, copy);
  copyFileSync(markerPath(path), markerPath(copy));
  store = await openDocuments(path);
  const clone = await openDocuments(copy);
  assert.notEqual((await store.status()).origin, (await clone.status()).origin);
  await write(store, put("b", {}));
  await write(clone, put("c", {}));
  await replicate(store, clone);
  await replicate(clone, store);
  assert.deepEqual(await listing(store), await listing(clone));
  await Promise.all([store.close(), clone.close()]);
});

test("D7: a store rolled back unawares writes its documents again under a new origin", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "a.db");
  const [kept, keptMarker] = [join(folder.path, "kept.db"), join(folder.path, "kept.origin")];
  let store = await openDocuments(path);
  const peer = await openDocuments(join(folder.path, "peer.db"), "n2");
  await write(store, put("a", { name: "1", stock: 4, tags: ["x"] }));
  await store.close();
  // A machine restored from a snapshot: the file, the marker and the inode are as they were.
  copyFileSync(path, kept);
  copyFileSync(markerPath(path), keptMarker);
  store = await openDocuments(path);
  await write(store, put("a", { name: "2", stock: 5, tags: ["x"] }));
  await write(store, put("b", { name: "lost here" }));
  await replicate(store, peer);
  await store.close();
  for (const suffix of ["-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  copyFileSync(kept, path);
  copyFileSync(keptMarker, markerPath(path));
  store = await openDocuments(path);
  await write(store, put("a", { name: "3", stock: 7, tags: ["x", "y"] }));
  const { origin, rotated } = await store.observe(await peer.vector());
  assert.equal(rotated, true);
  assert.equal((await store.status()).origin, origin);
  assert.equal(await bodyOf(store, "a"), '{"name":"3","stock":7,"tags":["x","y"]}');
  await replicate(peer, store);
  await replicate(store, peer);
  assert.deepEqual(await listing(store), await listing(peer));
  assert.equal(await bodyOf(peer, "b"), '{"name":"lost here"}');
  // 4 before; one of the two lives added 1, the other 3.
  assert.equal(JSON.parse((await bodyOf(peer, "a"))!).stock, 8);
  const again = await store.observe(await peer.vector());
  assert.equal(again.rotated, false);
  await Promise.all([store.close(), peer.close()]);
});

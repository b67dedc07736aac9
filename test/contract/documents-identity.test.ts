/** Files of documents that were copied, or put back to what they were. */
import { strict as assert } from "node:assert";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeOperations, encodeOperations } from "../../src/data/documents/codec.ts";
import type { DocumentWrite, LocalDocumentStore } from "../../src/data/index.ts";
import type { Change } from "../../src/api/records/index.ts";
import { markerPath } from "../../src/data/streams/identity.ts";
import {
  bodyOf,
  listing,
  openDocuments,
  fill,
  put,
  replicate,
  truncate,
  write,
} from "../support/documents.ts";
import { temporaryFolder } from "../support/data.ts";
import { hearPeer } from "../support/put-back.ts";

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

test("D7: a store put back to an image, marker and all, writes more than it lost: nothing is lost, and nothing counts twice", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "a.db");
  const [kept, keptMarker] = [join(folder.path, "kept.db"), join(folder.path, "kept.origin")];
  let store = await openDocuments(path);
  const peer = await openDocuments(join(folder.path, "peer.db"), "n2");
  await write(store, put("a", { name: "1", stock: 4, tags: ["x"] }));
  await store.close();
  // The file, the marker and the inode are as they were.
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
  for (const id of ["c", "d", "e"]) await write(store, put(id, { name: "new here" }));
  await replicate(store, peer);
  await replicate(peer, store);
  assert.deepEqual(await listing(store), await listing(peer));
  assert.equal((await listing(peer)).length, 5);
  assert.equal(await bodyOf(peer, "b"), '{"name":"lost here"}');
  // 4 before; one of the two lives added 1, the other 3.
  assert.equal(JSON.parse((await bodyOf(peer, "a"))!).stock, 8);
  await Promise.all([store.close(), peer.close()]);
});

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
  const told = { ...(await peer.vector()), [origin]: 9 };
  const { rotated } = await store.observe(told, { state: "forgotten" });
  assert.deepEqual([rotated, (await store.snapshots.place()).isNeeded], [true, true]);
  assert.equal(await store.snapshots.give({ vector: {}, force: true }), undefined);
  await fill(peer, store, true);
  assert.equal((await store.snapshots.place()).isNeeded, false);
  assert.equal(await bodyOf(store, "a"), '{"name":"3","stock":7}');
  await replicate(store, peer);
  assert.deepEqual(await listing(store), await listing(peer));
  await Promise.all([store.close(), peer.close()]);
});

/** `peer` has of the log of `store` what this one wrote in another life, from a position on. */
async function otherLife(
  store: LocalDocumentStore,
  peer: LocalDocumentStore,
  lives: readonly { from: number; by: number }[],
) {
  const { origin } = await store.status();
  const first = await store.log({ origin, from: 1, bytesMax: 1 });
  assert.ok(first);
  const { hlc } = decodeOperations(first.bytes).operations[0]!;
  for (const { from, by } of lives) {
    const changes: Change[] = [{ type: "count", path: "/stock", by }];
    const writes = [{ collection: "items", id: "d", verb: "edit", schema: 1, changes }];
    const text = JSON.stringify({ hlc: hlc + from, seen: {}, writes });
    await peer.apply(encodeOperations({ origin, from, texts: [text] }));
  }
  return origin;
}

const grow = (by: number, step: string): DocumentWrite => ({
  collection: "items",
  id: "d",
  do: "change",
  changes: [
    { change: "increment", path: "/stock", by },
    { change: "insert", path: "/steps", values: [step] },
  ],
});

test("D7: who tells of more of a log and shows nothing is not believed, however often: nothing counts twice", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const peer = await openDocuments(join(folder.path, "b.db"), "n2");
  await write(store, grow(5, "drill"));
  await replicate(store, peer);
  const { origin } = await store.status();
  const liar = { vector: async () => ({ ...(await peer.vector()), [origin]: 2 }), log: peer.log };
  for (let time = 0; time < 3; time++) {
    const found = await hearPeer(store, liar);
    assert.deepEqual([found.rotated, found.origin, found.questions], [false, origin, 1]);
  }
  await replicate(store, peer);
  await replicate(peer, store);
  for (const each of [store, peer])
    assert.equal(await bodyOf(each, "d"), '{"steps":["drill"],"stock":5}');
  assert.deepEqual(Object.keys(await store.vector()), [origin]);
  await Promise.all([store.close(), peer.close()]);
});

test("D7: a machine put back with its memory: only what no peer has is written again, however much both wrote since", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const peer = await openDocuments(join(folder.path, "b.db"), "n2");
  for (let n = 1; n <= 20; n++) await write(store, grow(1, `both ${n}`));
  await replicate(store, peer);
  // In the life that is lost it wrote three more; in this one two.
  const lost = [21, 22, 23].map((from) => ({ from, by: 100 }));
  const origin = await otherLife(store, peer, lost);
  for (const step of ["here 1", "here 2"]) await write(store, grow(10, step));
  const { rotated, disputed, questions } = await hearPeer(store, peer);
  assert.deepEqual([rotated, disputed], [true, [origin]]);
  assert.ok(questions <= 7, `${questions} questions`);
  assert.equal((await store.vector())[origin], 20, "what both have stays");
  assert.equal(JSON.parse((await bodyOf(store, "d"))!).stock, 40);
  const later = await hearPeer(store, peer);
  assert.deepEqual([later.rotated, later.disputed], [false, [origin]], "whoever asks hears of it");
  await replicate(peer, store);
  await replicate(store, peer);
  assert.deepEqual(await listing(store), await listing(peer));
  const { stock, steps } = JSON.parse((await bodyOf(peer, "d"))!);
  assert.equal(stock, 20 + 300 + 20);
  assert.deepEqual(steps.slice(0, 2).concat(steps.slice(-1)), ["both 1", "both 2", "here 2"]);
  assert.equal(steps.length, 22);
  await Promise.all([store.close(), peer.close()]);
});

test("D7: before a hub, which gives no log back, what it had told of before stays, and the rest is written again", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const hub = await openDocuments(join(folder.path, "hub.db"), "n2");
  for (let n = 1; n <= 3; n++) await write(store, grow(1, `both ${n}`));
  await replicate(store, hub);
  const lost = [4, 5].map((from) => ({ from, by: 100 }));
  const origin = await otherLife(store, hub, lost);
  await write(store, grow(10, "here"));
  const told = await hub.vector();
  assert.equal((await store.observe(told)).ask?.origin, origin);
  assert.equal((await store.observe(told, { state: "told", same: 3 })).rotated, true);
  assert.equal((await store.vector())[origin], 3);
  await replicate(hub, store);
  await replicate(store, hub);
  assert.equal(JSON.parse((await bodyOf(hub, "d"))!).stock, 3 + 200 + 10);
  assert.deepEqual(await listing(store), await listing(hub));
  await Promise.all([store.close(), hub.close()]);
});

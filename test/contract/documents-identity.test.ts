/** Files of documents that were copied, or put back to what they were. */
import { strict as assert } from "node:assert";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
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

/** M19, M20: documents are deleted for their age, by a clock that nobody can set. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import {
  openDocumentStore,
  type CollectionDeclaration,
  type DocumentWrite,
  type LocalDocumentStore,
} from "../../src/data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { fill, items, listing, put, replicate, truncate, write } from "../support/documents.ts";

const [secondMs, hourMs, dayMs] = [1000, 3_600_000, 86_400_000];
const maxAgeMs = 30 * dayMs;
const kept: CollectionDeclaration = { ...items, retention: { maxAgeMs } };
const plain = { schemaVersion: 1, onMismatch: "refuse", fields: [] } as const;

const open = async (
  clock: SimulatedClock,
  path: string,
  node = "n1",
  collections: readonly CollectionDeclaration[] = [kept, { ...items, name: "others" }],
): Promise<LocalDocumentStore> => {
  const random = seededRandom(path.length);
  const store = openDocumentStore({ clock, random, log: silentLog }, { path, node });
  await store.declare(collections);
  return store;
};
const expire = async (store: LocalDocumentStore, rank = 0) => {
  const sum = { deleted: 0, cleared: 0, kept: 0 };
  for (let isMore = true; isMore;) {
    const { deleted, cleared, kept: refused, more } = await store.expire({ rank });
    for (const documents of Object.values(deleted)) sum.deleted += documents;
    sum.cleared += cleared;
    sum.kept += refused;
    isMore = more;
  }
  return sum;
};
/** Time passes, with a look every six hours where there would be more. */
const pass = async (clock: SimulatedClock, days: number, store: LocalDocumentStore, rank = 0) => {
  let deleted = 0;
  for (let at = 0; at < days * 4; at++) {
    await clock.advance(6 * hourMs);
    deleted += (await expire(store, rank)).deleted;
  }
  return deleted;
};
const idsOf = async (store: LocalDocumentStore, collection = "items") =>
  (await store.list({ collection, limit: 1000 })).documents.map(({ id }) => id);

test("M19: what nobody changed for maxAge is deleted, whatever the time of day does; restarts make nothing older", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "a.db");
  let store = await open(clock, path);
  const many = Array.from({ length: 450 }, (_, n) => put(`m${n}`, { name: "many" }));
  await write(store, ...many);
  await write(store, put("changed", { name: "1" }), put("b", { name: "other" }, "others"));
  assert.deepEqual(await expire(store), { deleted: 0, cleared: 0, kept: 0 });
  clock.stepWall(40 * 365 * dayMs);
  assert.equal(await pass(clock, 20, store), 0);
  clock.stepWall(-70 * 365 * dayMs);
  await write(store, put("changed", { name: "2" }));
  await store.close();
  // It does not run.
  await clock.advance(40 * dayMs);
  store = await open(clock, path);
  assert.equal(await pass(clock, 9, store), 0, "29 days of running");
  assert.equal(await pass(clock, 2, store), 450);
  assert.deepEqual(await idsOf(store), ["changed"]);
  assert.deepEqual(await idsOf(store, "others"), ["b"], "without a retention");
  assert.equal(await pass(clock, 17, store), 0);
  assert.equal(await pass(clock, 4, store), 1);
  assert.deepEqual(await idsOf(store), []);
  await store.close();
});

test("M19: documents that were there before the retention count from its declaration", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const store = await open(clock, join(folder.path, "a.db"), "n1", [items]);
  await write(store, put("old", { name: "old" }));
  assert.equal(await pass(clock, 100, store), 0);
  await store.declare([kept]);
  assert.equal(await pass(clock, 29, store), 0);
  assert.equal(await pass(clock, 2, store), 1);
  await store.close();
});

test("M19: one node deletes for all; the next does when the first does not", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const first = await open(clock, join(folder.path, "a.db"), "n1");
  const second = await open(clock, join(folder.path, "b.db"), "n2");
  await write(first, put("a", { name: "a" }), put("b", { name: "b" }));
  await replicate(first, second);
  for (const store of [first, second]) await expire(store);
  await clock.advance(maxAgeMs + 60 * secondMs);
  assert.equal((await expire(second, 1)).deleted, 0, "an hour is left to the first");
  assert.equal((await expire(first, 0)).deleted, 2);
  await replicate(first, second);
  await clock.advance(2 * hourMs);
  assert.equal((await expire(second, 1)).deleted, 0);
  assert.deepEqual(await idsOf(second), []);

  await write(second, put("c", { name: "c" }));
  await replicate(second, first);
  assert.equal(await pass(clock, 30, second, 1), 0);
  assert.equal(await pass(clock, 1, second, 1), 1, "the first does not run");
  await replicate(second, first);
  assert.deepEqual([await listing(first), await idsOf(first)], [await listing(second), []]);
  await Promise.all([first.close(), second.close()]);
});

test("M5, M19: an edit that did not know of the deletion brings back the whole document, one that is known keeps it", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const first = await open(clock, join(folder.path, "a.db"), "n1");
  const second = await open(clock, join(folder.path, "b.db"), "n2");
  await write(first, put("a", { name: "a", size: 1 }), put("b", { name: "b", size: 1 }));
  await replicate(first, second);
  await pass(clock, 20, first);
  const edit = (id: string): DocumentWrite => ({
    collection: "items",
    id,
    do: "merge",
    patch: { size: 2 },
  });
  await write(second, edit("b"));
  await replicate(second, first);
  await pass(clock, 5, first);
  // The other is cut off from now on.
  await write(second, edit("a"));
  assert.equal(await pass(clock, 6, first), 1);
  assert.deepEqual(await idsOf(first), ["b"]);
  await replicate(first, second);
  await replicate(second, first);
  const both = await listing(first);
  assert.deepEqual(both, await listing(second));
  const back = await first.read({ collection: "items", id: "a" });
  assert.deepEqual({ ...back?.body }, { name: "a", size: 2 });
  assert.equal(back?.conflicts.length, 1);
  await Promise.all([first.close(), second.close()]);
});

test("M20: what a deleted document held goes seven days later, of every kind of field, and stays gone", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "a.db");
  const store = await open(clock, path);
  const other = await open(clock, join(folder.path, "b.db"), "n2");
  const body = {
    name: "hush-name",
    stock: 4,
    tags: ["hush-tag"],
    steps: ["hush-step"],
    notes: "hush-note",
    size: { inch: "hush-size" },
  };
  await write(store, put("a", body), put("b", { name: "hush-b" }));
  const removal: DocumentWrite = { collection: "items", id: "b", do: "delete" };
  await write(store, removal);
  await replicate(store, other);
  const rows = (at: string) => {
    const db = openDatabase(at, { readOnly: true });
    const texts = db.prepare("SELECT coalesce(body, '') || state AS text FROM document").all();
    db.close();
    return texts.map(({ text }) => String(text)).join("\n");
  };
  await pass(clock, 6, store);
  assert.match(rows(path), /hush-b/);
  await pass(clock, 2, store);
  assert.doesNotMatch(rows(path), /hush-b/, "deleted by somebody");
  await pass(clock, 23, store);
  assert.deepEqual(await idsOf(store), []);
  assert.match(rows(path), /hush-name/, "for edits that did not know of it");
  await pass(clock, 9, store);
  await replicate(store, other);
  await truncate(store);
  await truncate(other);
  for (const at of [path, join(folder.path, "b.db")]) assert.doesNotMatch(rows(at), /hush/);
  const log = openDatabase(path, { readOnly: true });
  assert.deepEqual(log.prepare("SELECT text FROM operation WHERE text LIKE '%hush%'").all(), []);
  log.close();
  assert.deepEqual(await expire(store), { deleted: 0, cleared: 0, kept: 0 });
  await write(other, put("a", { name: "again", stock: 1 }));
  await replicate(other, store);
  const again = await store.read({ collection: "items", id: "a" });
  assert.deepEqual({ ...again?.body }, { name: "again", stock: 1 });
  await Promise.all([store.close(), other.close()]);
});

test("M16, M19: a document that another one names by a rule stays until nothing does", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const store = await open(clock, join(folder.path, "a.db"), "n1", [
    kept,
    {
      ...plain,
      name: "orders",
      references: [{ path: "/item", collection: "items", onDelete: "refuse" }],
    },
  ]);
  await write(store, put("named", {}), put("free", {}));
  await write(store, put("o1", { item: "named" }, "orders"));
  assert.equal(await pass(clock, 32, store), 1);
  assert.deepEqual(await idsOf(store), ["named"]);
  assert.equal((await expire(store)).kept, 0, "it is not looked at each time");
  await write(store, { collection: "orders", id: "o1", do: "delete" });
  assert.equal(await pass(clock, 1, store), 1);
  await store.close();
});

test("M19: documents that were filled anew are as young as they are here, whatever stood there before", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const [path, peerPath] = [join(folder.path, "a.db"), join(folder.path, "b.db")];
  let store = await open(clock, path);
  const peer = await open(clock, peerPath, "n2");
  for (let n = 0; n < 40; n++) await write(store, put("a", { size: n }));
  await replicate(store, peer);
  await pass(clock, 25, store);
  await truncate(store);
  await truncate(peer);
  await write(store, { collection: "items", id: "c", do: "put", body: { size: 1 } });
  await write(store, { collection: "items", id: "c", do: "delete" });
  // A peer has more of this log than the store: it begins anew, without its documents.
  const told = { ...(await peer.vector()), [(await store.status()).origin]: 99 };
  const { rotated } = await store.observe(told, { state: "forgotten" });
  assert.equal(rotated, true);
  await store.close();
  store = await open(clock, path);
  await fill(peer, store, true);
  assert.deepEqual(await idsOf(store), ["a"]);
  assert.equal(await pass(clock, 29, store), 0);
  assert.equal(await pass(clock, 2, store), 1);
  await Promise.all([store.close(), peer.close()]);
});

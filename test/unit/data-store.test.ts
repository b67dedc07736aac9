/** What a node's store does when something is wrong with its file, its disk, its clock or its past. */
import { strict as assert } from "node:assert";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore, type StreamDeclaration } from "../../src/data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, keysOf, range, telemetry, temporaryFolder } from "../support/data.ts";

let seed = 1;
async function open(
  path: string,
  options: {
    node?: string;
    clock?: SimulatedClock;
    streams?: StreamDeclaration[];
    fileBytesMax?: number;
  } = {},
) {
  const {
    node = "n1",
    clock = createSimulatedClock(),
    streams = [telemetry],
    fileBytesMax,
  } = options;
  const store = openStreamStore(
    { clock, random: seededRandom(seed++), log: silentLog },
    { path, node, fileBytesMax },
  );
  await store.setStreams(streams);
  return store;
}
type Store = Awaited<ReturnType<typeof open>>;

/** All that `from` has and `to` lacks, as replication would bring it. */
async function copyLogs(from: Store, to: Store) {
  const have = await to.vector();
  for (const origin of Object.keys(await from.vector())) {
    for (let next = (have[origin] ?? 0) + 1; ;) {
      const batch = await from.log({ origin, from: next });
      if (!batch) break;
      const answer = await to.apply(batch.bytes);
      assert.equal(answer.state, "applied");
      next = batch.to + 1;
    }
  }
}
const readCount = async (store: Store, stream: string) =>
  (await store.read({ stream })).entries.length;
const originOf = async (store: Store) => (await store.status()).origin;
const pad = "x".repeat(1000);

test("D7: every opening takes a new origin: after a clean end, without a marker, with a torn one, of a clone and of another node's file", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const first = await open(path);
  await first.append([entry(1)]);
  const origin = await originOf(first);
  await first.close();
  const again = await open(path);
  assert.notEqual(await originOf(again), origin);
  assert.deepEqual(Object.keys(await again.vector()), [origin], "nothing was written by it");
  await again.close();

  const clone = join(folder.path, "clone.db");
  for (const end of ["", ".origin"]) cpSync(path + end, clone + end);
  const cloned = await open(clone);
  assert.notEqual(await originOf(cloned), origin);
  assert.deepEqual(await keysOf(cloned), ["p1/1/1"]);
  await cloned.close();

  rmSync(`${path}.origin`);
  const bare = await open(path);
  assert.notEqual(await originOf(bare), origin);
  await bare.close();

  writeFileSync(`${path}.origin`, "torn");
  const torn = await open(path);
  assert.notEqual(await originOf(torn), origin);
  await torn.close();

  const other = await open(path, { node: "n2" });
  assert.match(await originOf(other), /^n2\./);
  assert.ok(origin in (await other.vector()));
  await other.close();
});

test("D7: an older copy put back over the file neither reuses positions nor keeps its cursors, and gets the rest back from a peer", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const peer = await open(join(folder.path, "peer.db"), { node: "n2" });
  let store = await open(path);
  await store.append(range(1, 5).map((n) => entry(n)));
  await store.close();
  const old = readFileSync(path);
  const oldMarker = readFileSync(`${path}.origin`);
  store = await open(path);
  await store.append(range(6, 10).map((n) => entry(n)));
  const { cursor } = await store.read({ stream: "telemetry" });
  await copyLogs(store, peer);
  await store.close();
  rmSync(`${path}-wal`, { force: true });
  rmSync(`${path}-shm`, { force: true });
  // Written in place: the inode stays, only the marker tells.
  writeFileSync(path, old);
  store = await open(path);
  await store.append(range(20, 25).map((n) => entry(n)));
  await copyLogs(store, peer);
  await copyLogs(peer, store);
  const wanted = [...range(1, 10), ...range(20, 25)].map((n) => `p1/1/${n}`).sort();
  assert.deepEqual((await keysOf(store)).sort(), wanted);
  assert.deepEqual((await keysOf(peer)).sort(), wanted);
  await assert.rejects(store.read({ stream: "telemetry", after: cursor }), {
    code: "invalid-cursor",
  });
  await store.close();

  // Marker and file put back together: nothing here tells, and nothing has to.
  rmSync(`${path}-wal`, { force: true });
  rmSync(`${path}-shm`, { force: true });
  writeFileSync(path, old);
  writeFileSync(`${path}.origin`, oldMarker);
  store = await open(path);
  // More than it lost.
  await store.append(range(30, 39).map((n) => entry(n)));
  await copyLogs(store, peer);
  await copyLogs(peer, store);
  const all = [...wanted, ...range(30, 39).map((n) => `p1/1/${n}`)].sort();
  assert.deepEqual((await keysOf(store)).sort(), all);
  assert.deepEqual((await keysOf(peer)).sort(), all);
  await store.close();
  await peer.close();
});

test("D4: where two stores accepted the same keys, each log stays whole, through a third, in any batches", async () => {
  using folder = temporaryFolder();
  const [a, b, c, d] = await Promise.all(
    ["a", "b", "c", "d"].map((node) => open(join(folder.path, `${node}.db`), { node })),
  );
  assert.ok(a && b && c && d);
  await a.append(range(1, 40).map((n) => entry(n)));
  await b.append(
    range(21, 60)
      .reverse()
      .map((n) => entry(n)),
  );
  await copyLogs(a, c);
  await copyLogs(b, c);
  assert.equal((await keysOf(c)).length, 60);
  // d gets only b's log, and only through c, where half of it stands under a's positions.
  const origin = await originOf(b);
  for (let from = 1; ;) {
    const batch = await c.log({ origin, from, bytesMax: 40 });
    if (!batch) break;
    assert.ok(batch.to < 40 || batch.entries > 0);
    await d.apply(batch.bytes);
    from = batch.to + 1;
  }
  assert.deepEqual((await keysOf(d)).sort(), (await keysOf(b)).sort());
  assert.equal((await d.vector())[origin], 40);
  // A resend is acknowledged where it stands, and that is what others must cover.
  const again = await c.append([entry(30)]);
  assert.deepEqual(again.state === "stored" && again.cover, { [await originOf(a)]: 30 });
  for (const store of [a, b, c, d]) await store.close();
});

test("D8: size removes the oldest first, in the log leaves holes that replication passes, and a resend stays a duplicate", async () => {
  using folder = temporaryFolder();
  const streams = [{ ...telemetry, egress: undefined, retention: { bytesMax: 100_000 } }];
  const store = await open(join(folder.path, "s.db"), { streams });
  const peer = await open(join(folder.path, "p.db"), { node: "n2" });
  await store.append(range(1, 1500).map((n) => entry(n, { body: { pad } })));
  const { removed } = await store.retain();
  const kept = await keysOf(store);
  assert.equal(kept.length + removed, 1500);
  assert.equal(kept.at(-1), "p1/1/1500");
  assert.equal(kept[0], `p1/1/${removed + 1}`);
  const [status] = (await store.status()).streams;
  assert.ok(status && status.bytes <= 100_000 && status.bytes > 90_000);
  assert.equal(status.droppedBeforeHub, 0);
  const resend = await store.append([entry(1), entry(removed), entry(1501)]);
  assert.deepEqual(resend.state === "stored" && [resend.stored, resend.duplicates], [1, 2]);
  await copyLogs(store, peer);
  assert.deepEqual(await peer.vector(), { ...(await peer.vector()), ...(await store.vector()) });
  assert.deepEqual(await keysOf(peer), await keysOf(store));
  await store.close();
  const reopened = await open(join(folder.path, "s.db"), { streams });
  const late = await reopened.append([entry(2)]);
  assert.deepEqual(late, { state: "stored", stored: 0, duplicates: 1, removed: [0], cover: {} });
  // One that comes again by another node's log is here again, at its place there.
  await peer.append([entry(2, { body: { pad } })]);
  await copyLogs(peer, reopened);
  const here = await reopened.append([entry(2)]);
  const { origin, vector } = await peer.status();
  assert.deepEqual(here.state === "stored" && here.cover, { [origin]: vector[origin] });
  await reopened.close();
  await peer.close();
});

test("D5: cursors and ids hold when retention removed every row", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const streams = [{ name: "telemetry", retention: { bytesMax: 1 } }];
  let store = await open(path, { streams });
  await store.append(range(1, 10).map((n) => entry(n)));
  const { cursor } = await store.read({ stream: "telemetry" });
  await store.retain();
  assert.deepEqual(await keysOf(store), []);
  await store.close();
  store = await open(path, { streams });
  await store.append([entry(11)]);
  assert.deepEqual(await keysOf(store, { after: cursor }), ["p1/1/11"]);
  await store.close();
});

test("D8: age spares what the hub lacks, size does not and is counted; a stepping wall clock removes nothing", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const streams = [{ ...telemetry, retention: { ageMs: 60_000, bytesMax: 20_000 } }];
  const store = await open(join(folder.path, "s.db"), { clock, streams });
  // Measured long ago is not stored long ago.
  await store.append(range(1, 10).map((n) => entry(n, { atMs: 1000 })));
  clock.stepWall(365 * 86_400_000);
  await store.retain();
  clock.stepWall(-730 * 86_400_000);
  await store.append([entry(11)]);
  await store.retain();
  assert.equal((await keysOf(store)).length, 11);
  await store.markHub({ [await originOf(store)]: 4 });
  await clock.advance(90_000);
  await store.retain();
  assert.deepEqual((await keysOf(store))[0], "p1/1/5");
  await store.append(range(12, 40).map((n) => entry(n, { body: { pad } })));
  await store.retain();
  const [status] = (await store.status()).streams;
  assert.ok(status && status.droppedBeforeHub >= 7, JSON.stringify(status));
  assert.ok(status.bytes <= 20_000);
  assert.equal(status.backlog.entries, status.entries);
  await store.close();
});

test("a full disk refuses and changes nothing; with room again the same append succeeds", async () => {
  using folder = temporaryFolder();
  const store = await open(join(folder.path, "s.db"), {
    fileBytesMax: 400_000,
    streams: [{ name: "telemetry", retention: { bytesMax: 50_000 } }],
  });
  let stored = 0;
  let refused: Awaited<ReturnType<Store["append"]>> | undefined;
  for (let n = 1; !refused && n < 2000; n += 10) {
    const answer = await store.append(range(n, n + 9).map((m) => entry(m, { body: { pad } })));
    if (answer.state === "refused") refused = answer;
    else stored += answer.stored;
  }
  assert.equal(refused?.state === "refused" && refused.code, "disk-full");
  assert.equal(refused?.state === "refused" && refused.retryable, true);
  assert.equal((await keysOf(store)).length, stored);
  const [status] = (await store.status()).streams;
  assert.equal(status?.entries, stored);
  await store.retain();
  const again = await store.append([entry(5000), entry(stored)]);
  assert.deepEqual(again.state === "stored" && [again.stored, again.duplicates], [1, 1]);
  await store.close();
});

test("a torn file is named as damaged, one of a later version as newer, and neither is touched", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  const store = await open(path);
  // Each less than is sealed as it comes: a file large enough to tear.
  for (const first of [1, 251])
    await store.append(range(first, first + 249).map((n) => entry(n, { body: { pad } })));
  await store.close();
  const whole = readFileSync(path);
  const torn = Buffer.from(whole);
  torn.fill(0xaa, 8192, 200_000);
  for (const content of [
    torn,
    whole.subarray(0, 50_000),
    Buffer.from("not a database at all, but text"),
  ]) {
    writeFileSync(path, content);
    await assert.rejects(open(path), { code: "store-damaged" });
    assert.deepEqual(readFileSync(path), content);
  }
  const { openDatabase } = await import("../../src/runtime/sqlite/index.ts");
  writeFileSync(path, whole);
  const db = openDatabase(path);
  db.exec("PRAGMA user_version = 99");
  db.close();
  await assert.rejects(open(path), { code: "store-newer" });
});

test("D9: too many entries or bytes at once are refused whole", async () => {
  using folder = temporaryFolder();
  const store = await open(join(folder.path, "s.db"));
  const many = await store.append(range(1, 10_001).map((n) => entry(n)));
  assert.equal(many.state === "refused" && many.code, "batch-too-large");
  const body = Buffer.from(JSON.stringify({ pad: "x".repeat(250_000) }));
  const large = await store.append(range(1, 80).map((n) => ({ ...entry(n), body })));
  assert.equal(large.state === "refused" && large.code, "batch-too-large");
  // More waits than may wait: some are refused, and those that are not are there.
  const works = range(1, 400).map((n) => store.append([{ ...entry(n), body }]));
  const answers = await Promise.all(works);
  const refused = answers.filter((answer) => answer.state === "refused");
  assert.ok(refused.length > 0 && refused.every(({ code }) => code === "store-busy"));
  assert.equal((await keysOf(store)).length, 400 - refused.length);
  await store.close();
});

test("P1, D8: until a stream is declared its entries wait before the gate, and no default limit cuts it", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "s.db");
  const filled = await open(path, { clock, streams: [telemetry, { name: "late", retention: {} }] });
  await filled.append([entry(1), entry(2), entry(3, { stream: "late" }), entry(4)]);
  const origin = await originOf(filled);
  await filled.close();
  const store = openStreamStore(
    { clock, random: seededRandom(seed++), log: silentLog },
    { path, node: "n1", streamBytesMax: 1 },
  );
  const shown = (from: number) => {
    const batch = store.readLeaving({ origin, from });
    return batch && [batch.to, batch.columns.stream.length];
  };
  assert.equal(shown(1), undefined);
  await clock.advance(600_000);
  assert.equal(shown(1), undefined);
  await store.setStreams([telemetry]);
  assert.deepEqual(shown(1), [2, 2]);
  assert.equal(shown(3), undefined);
  await store.setStreams([telemetry, { name: "late", retention: {} }]);
  assert.deepEqual(shown(3), [4, 2]);
  await store.setStreams([{ ...telemetry, retention: { bytesMax: 10_000 } }]);
  assert.equal(shown(3), undefined);
  await clock.advance(31_000);
  assert.deepEqual(shown(3), [4, 2]);
  await store.retain();
  assert.equal((await store.status()).streams.length, 2);
  assert.equal(await readCount(store, "late"), 1);
  await clock.advance(3_600_000);
  await store.retain();
  assert.equal(await readCount(store, "late"), 0);
  await store.close();
});

/** Damaged segments: found, said, and put together again from a peer's copy or the hub's. */
import { strict as assert } from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { EgressPolicy, EntryInput } from "../../src/api/index.ts";
import {
  createSegmentRepair,
  encodeBatch,
  openGlobalStore,
  openStreamStore,
  registerGlobalStore,
  wholeReads,
  type LocalStreamStore,
  type StreamStore,
} from "../../src/data/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { createGate, createRecheck } from "../../src/privacy/gate/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";

const trustDomain = "cell-a.skerry";
const log = silentLog;

/** Two nodes with the same entries in different orders, sealed; both names are paths. */
async function openCell(seed: number, egress?: EgressPolicy) {
  const folder = temporaryFolder();
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const fork = () => seededRandom(random.integer(2 ** 32));
  const streams = [{ name: "readings", retention: {}, ...(egress ? { egress } : {}) }];
  const pathOf = (node: string) => join(folder.path, `${node}.db`);
  const stores = new Map<string, LocalStreamStore>();
  const open = async (node: string) => {
    const store = openStreamStore(
      { clock, random: fork(), log },
      {
        path: pathOf(node),
        node,
        sealing: { entriesMax: 10, tailEntries: 5, periodMs: 10 },
        scrub: { periodMs: 1e9 },
      },
    );
    await store.setStreams(streams);
    stores.set(node, store);
    return store;
  };
  const [n1, n2] = [await open("n1"), await open("n2")];
  const hex = (bytes: number) =>
    Buffer.from(range(1, bytes).map(() => random.integer(256))).toString("hex");
  for (let n = 0; n < 60; n += 3) {
    const unkeyed: EntryInput = { stream: "readings", body: Buffer.from(`{"u":"${hex(1200)}"}`) };
    const some = (producer: string) => [
      ...range(n + 1, n + 3).map((sequence) =>
        entry(sequence, { stream: "readings", producer, atMs: n, body: { n, pad: hex(1200) } }),
      ),
      { ...unkeyed, atMs: n },
    ];
    await n1.append(some("p1"));
    await n2.append(some("p2"));
    await exchange(n1, n2);
    await exchange(n2, n1);
    for (let turn = 0; turn < 20; turn++) await clock.advance(10);
  }
  const reopen = async (node: string, spoil?: (path: string) => void) => {
    await stores.get(node)?.close();
    spoil?.(pathOf(node));
    return await open(node);
  };
  const close = async () => {
    for (const store of stores.values()) await store.close();
    folder[Symbol.dispose]();
  };
  return { clock, random: fork(), folder: folder.path, stores, reopen, close };
}
type Cell = Awaited<ReturnType<typeof openCell>>;

async function exchange(from: LocalStreamStore, to: LocalStreamStore): Promise<void> {
  const have = await to.vector();
  const { origin } = await from.status();
  const batch = await from.log({ origin, from: (have[origin] ?? 0) + 1 });
  if (batch) await to.apply(batch.bytes);
}

/** Spoils the content of one segment in the file; which, and where in it, comes from the seed. */
const ways: Record<string, (path: string, random: Random) => void> = {
  "a flipped bit": (path, random) =>
    rewrite(path, random, (bytes) => {
      const at = random.integer(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(8));
      return bytes;
    }),
  "a cut end": (path, random) =>
    rewrite(path, random, (bytes) => bytes.subarray(0, random.integer(bytes.length))),
  "a page of zeros": (path, random) => {
    const { bytes } = pickSegment(path, random);
    // The middle of it lies on pages of its own, whose first bytes name the next page.
    const from = 4096 + random.integer(bytes.length - 8192);
    const file = readFileSync(path);
    const at = file.indexOf(bytes.subarray(from, from + 16));
    assert.ok(at > 0 && bytes.length > 8192, "the content lies on several pages");
    file.fill(0, at - (at % 4096), at - (at % 4096) + 4096);
    writeFileSync(path, file);
  },
};

function pickSegment(path: string, random: Random): { id: number; bytes: Buffer } {
  const db = openDatabase(path);
  const rows = db.prepare("SELECT id, bytes FROM segment_bytes ORDER BY id").all();
  const row = rows[random.integer(rows.length)];
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  return { id: Number(row?.["id"]), bytes: Buffer.from(row?.["bytes"] as Uint8Array) };
}

function rewrite(path: string, random: Random, change: (bytes: Buffer) => Buffer): void {
  const { id, bytes } = pickSegment(path, random);
  const db = openDatabase(path);
  db.prepare("UPDATE segment_bytes SET bytes = ? WHERE id = ?").run(change(bytes), id);
  db.close();
}

/** Virtual time goes on until this has its answer. */
async function settle<T>(clock: SimulatedClock, answer: Promise<T>): Promise<T> {
  const over = new AbortController();
  const end = () => over.abort();
  answer.then(end, end);
  while (!over.signal.aborted) await clock.advance(20);
  return await answer;
}

/** All that a reader gets, walking on behind what is damaged, and what it was told of that. */
async function walk(store: Pick<StreamStore, "read">, clock: Cell["clock"]) {
  const seen: { cursor: string; at: string; body: string }[] = [];
  const damage: string[] = [];
  for (let after: string | undefined, more = true; more;) {
    try {
      const page = await settle(clock, store.read({ stream: "readings", after, limit: 7 }));
      for (const { cursor, position, body } of page.entries)
        seen.push({
          cursor,
          at: `${position.origin}/${position.sequence}`,
          body: Buffer.from(body).toString(),
        });
      ({ more } = page);
      after = page.cursor;
    } catch (error) {
      assert.ok(error instanceof SkerryError && error.code === "segment-damaged", String(error));
      damage.push(error.message);
      after = /after=(\S+)/.exec(error.hint ?? "")?.[1];
    }
  }
  return { seen, damage };
}

/** What reads of n1 go through, with links to these. */
function repairing(
  { clock, random, stores }: Cell,
  links: { peer?: boolean; hub?: ReturnType<typeof virtualRouter> },
) {
  const store = stores.get("n1") as LocalStreamStore;
  const metrics = createMetrics();
  const repairOf = (of: LocalStreamStore) =>
    createSegmentRepair(
      { repairs: of.repairs, clock, log, metrics: createMetrics() },
      { node: of.node, trustDomain },
    );
  const repair = createSegmentRepair(
    { repairs: store.repairs, clock, log, metrics },
    { node: "n1", trustDomain },
  );
  const router = virtualRouter();
  repair.register(router);
  const end = (name: string, of = router) => ({
    peer: peerOf(trustDomain, "node", name),
    router: of,
  });
  const connect = (name: string, of: ReturnType<typeof virtualRouter>) =>
    virtualLink(
      { clock, random, faults: () => noFaults },
      { left: end("n1"), right: end(name, of) },
    );
  const parts = [repair];
  const peer = stores.get("n2");
  if (links.peer && peer) {
    const other = repairOf(peer);
    const otherRouter = virtualRouter();
    other.register(otherRouter);
    repair.attachPeer(connect("n2", otherRouter).left);
    parts.push(other);
  }
  if (links.hub) repair.attachHub(connect("hub", links.hub).left);
  const stop = () => {
    for (const part of parts) part.stop();
  };
  return { store: wholeReads(store, repair), repair, metrics, stop };
}

for (const [way, spoil] of Object.entries(ways)) {
  test(`S3, S4: a segment with ${way} is named while there is no copy, and comes back from a peer, each entry in its place`, async () => {
    for (const seed of range(1, 3)) {
      const cell = await openCell(seed);
      const before = await walk(cell.stores.get("n1") as LocalStreamStore, cell.clock);
      assert.deepEqual([before.seen.length, before.damage], [160, []]);
      const damaged = await cell.reopen("n1", (path) => spoil(path, seededRandom(seed)));

      const alone = repairing(cell, {});
      const without = await walk(alone.store, cell.clock);
      assert.equal(without.damage.length, 1, `seed ${seed}`);
      assert.match(without.damage[0] ?? "", /readings: 10 entries of .*n1\.\w+ \d+-\d+/);
      assert.equal(without.seen.length, 150);
      assert.deepEqual(
        (await damaged.status()).damaged.map(({ entries, message }) => [entries, message]),
        [[10, without.damage[0]]],
      );
      alone.stop();

      const helped = repairing(cell, { peer: true });
      assert.deepEqual(await walk(helped.store, cell.clock), before, `seed ${seed}`);
      assert.deepEqual((await damaged.status()).damaged, []);
      assert.match(await helped.metrics.render(), /segments_restored_total\{from="peer"\} 1/);
      helped.stop();

      // It is on the disk again; and what SQLite cannot read holds up no retention.
      const again = await cell.reopen("n1");
      assert.deepEqual(await walk(again, cell.clock), before, `seed ${seed}`);
      await again.setStreams([{ name: "readings", retention: { bytesMax: 1 } }]);
      assert.equal((await again.retain()).removed, 160);
      assert.deepEqual((await walk(again, cell.clock)).seen, []);
      await cell.close();
    }
  });
}

test("S3, D4, D8: a segment that cannot be read at all holds up neither appends nor retention", async () => {
  const cell = await openCell(4);
  const spoil = ways["a page of zeros"] as (path: string, random: Random) => void;
  const store = await cell.reopen("n1", (path) => spoil(path, seededRandom(4)));
  // Keys that stand in it stay duplicates, also when that is the first that is asked of it.
  const resend = range(1, 60).map((n) => entry(n, { stream: "readings" }));
  const answer = await store.append([...resend, entry(61, { stream: "readings" })]);
  assert.deepEqual(answer.state === "stored" && [answer.stored, answer.duplicates], [1, 60]);
  assert.equal((await walk(store, cell.clock)).damage.length, 1);
  await store.setStreams([{ name: "readings", retention: { bytesMax: 1 } }]);
  assert.equal((await store.retain()).removed, 161);
  assert.deepEqual((await store.status()).damaged, []);
  await cell.close();
});

for (const { name, egress, isWhole } of [
  {
    name: "all copies of the cell damaged: the hub's is taken when entries leave whole",
    egress: { drop: [] },
    isWhole: true,
  },
  {
    name: "all copies damaged: the hub's is refused where fields stay in the cell, and the range is named",
    egress: { keep: ["n"] },
    isWhole: false,
  },
])
  test(`S3, S4: ${name}`, async () => {
    const cell = await openCell(7, egress);
    const n1 = cell.stores.get("n1") as LocalStreamStore;
    const before = await walk(n1, cell.clock);
    const hub = openGlobalStore(
      { clock: cell.clock, random: cell.random, log, recheck: createRecheck() },
      { path: join(cell.folder, "hub.db") },
    );
    const gate = createGate({ encode: encodeBatch, log });
    gate.setPolicies({ readings: egress });
    for (const origin of Object.keys(await n1.vector())) {
      const batch = n1.readLeaving({ origin, from: 1, bytesMax: 1e7 });
      if (batch) await hub.ingest("cell-a", gate.clear(batch).bytes);
    }
    const router = virtualRouter();
    registerGlobalStore(router, hub, (peer) => peer.trustDomain.split(".")[0]);
    const flip = ways["a flipped bit"] as (path: string, random: Random) => void;
    const spoilAll = (path: string) => {
      for (let times = 0; times < 40; times++) flip(path, seededRandom(times));
    };
    for (const node of ["n1", "n2"]) await cell.reopen(node, spoilAll);

    const helped = repairing(cell, { peer: true, hub: router });
    const after = await walk(helped.store, cell.clock);
    if (isWhole) assert.deepEqual(after, before);
    else {
      assert.ok(after.damage.length > 5 && after.seen.length > 0);
      const status = await helped.store.status();
      assert.deepEqual(status.damaged.map(({ message }) => message).sort(), after.damage.sort());
      // The log is not told without it before everybody was asked that there is.
      const query = { origin: status.origin, from: 1, bytesMax: 1e7 };
      const origin = Object.keys(status.vector).find((name) => name !== status.origin) ?? "";
      const logOf = (of: string) => helped.store.log({ ...query, origin: of });
      await assert.rejects(logOf(origin), { code: "segment-damaged" });
      helped.repair.expect({ nodes: ["n1", "n2", "n3"], hub: true });
      await walk(helped.store, cell.clock);
      await assert.rejects(logOf(origin), { code: "segment-damaged" });
      helped.repair.expect({ nodes: ["n1", "n2"], hub: true });
      await walk(helped.store, cell.clock);
      const told = (await logOf(origin))?.entries ?? 0;
      assert.ok(told > 0 && told < 80, `${told} entries`);
      assert.equal((await walk(helped.store, cell.clock)).damage.length, after.damage.length);
    }
    helped.stop();
    await hub.close();
    await cell.close();
  });

test("S3: the scrub finds damage that nobody reads, one segment a turn, all of them once a day, and gives plans to older segments", async () => {
  const cell = await openCell(9);
  const flip = ways["a flipped bit"] as (path: string, random: Random) => void;
  await cell.reopen("n1", (path) => {
    flip(path, seededRandom(1));
    const db = openDatabase(path);
    db.exec("DELETE FROM segment_plan");
    db.close();
  });
  for (const store of cell.stores.values()) await store.close();
  cell.stores.clear();
  const { clock } = cell;
  const path = join(cell.folder, "n1.db");
  const store = openStreamStore(
    { clock, random: seededRandom(3), log },
    { path, node: "n1", sealing: { periodMs: 1e9 }, retentionPeriodMs: 1e9 },
  );
  await store.setStreams([{ name: "readings", retention: {} }]);
  const told: string[] = [];
  store.repairs.on("damaged", ({ message }) => told.push(message));
  for (let second = 0; second < 5; second++) await clock.advance(1000);
  const segments = (await store.status()).scrubbed;
  assert.ok(segments.segments <= 5, JSON.stringify(segments));
  for (let second = 0; second < 60; second++) await clock.advance(1000);
  const { scrubbed, damaged } = await store.status();
  assert.deepEqual([scrubbed.passes, damaged.length, told.length], [1, 1, 1]);
  await clock.advance(3_600_000);
  assert.deepEqual((await store.status()).scrubbed, scrubbed);
  await clock.advance(86_400_000);
  assert.ok((await store.status()).scrubbed.segments > scrubbed.segments);
  await store.close();
  const db = openDatabase(path);
  const count = (table: string) =>
    Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]);
  assert.equal(count("segment_plan"), count("segment") - 1);
  db.close();
  await cell.close();
});

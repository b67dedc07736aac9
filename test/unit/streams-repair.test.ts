/** Damaged segments: found, said, and put together again from a peer's copy or the hub's. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import {
  createReplication,
  decodeBatch,
  encodeBatch,
  openGlobalStore,
  openStreamStore,
  registerGlobalStore,
  type LocalStreamStore,
} from "../../src/data/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog as log } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { createGate, createRecheck } from "../../src/privacy/gate/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { meddle } from "../support/audit.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";
import { openCell, repairing, walk, ways } from "../support/segment-damage.ts";
import { letSeal, openSealing, small } from "../support/segments.ts";

for (const [way, spoil] of Object.entries(ways)) {
  test(`S3, S4: a segment with ${way} is named while there is no copy, and comes back from a peer, each entry in its place`, async () => {
    for (const seed of range(1, 2)) {
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

/** Entries 1..60, sealed by n1, and accepted by n2 as well: its log is positions of what n1 sealed. */
async function openTwice(folder: string) {
  const clock = createSimulatedClock();
  const path = join(folder, "n1.db");
  const other = await openSealing(join(folder, "n2.db"), { clock, node: "n2", seed: 2 });
  const open = () => openSealing(path, { clock, node: "n1", seed: 1, sealing: small });
  const store = await open();
  const all = range(1, 60).map((n) => entry(n));
  for (const one of [store, other]) await one.append(all);
  const theirs = await other.log({ origin: (await other.status()).origin, from: 1 });
  assert.ok(theirs);
  await store.apply(theirs.bytes);
  await letSeal(clock, 6);
  const origins = [(await store.status()).origin, theirs.origin];
  await store.close();
  await other.close();
  const openDamaged = () => {
    meddle(path, "UPDATE segment_bytes SET bytes = zeroblob(100) WHERE id = 11");
    return open();
  };
  return { clock, origins, theirs: theirs.origin, open, openDamaged };
}

test("S3: copies are of the positions asked for, of rows, segments and entries that came twice; of damage alone there is none", async () => {
  using folder = temporaryFolder();
  const { origins, open, openDamaged } = await openTwice(folder.path);
  const copied = async (from: LocalStreamStore, origin: string, [first, last] = [1, 60]) => {
    const query = { origin, stream: "telemetry", from: first ?? 1, to: last ?? 60 };
    const bytes = await from.repairs.copy({ ...query, fromMs: 0, toMs: Number.MAX_SAFE_INTEGER });
    return decodeBatch(bytes).entries.map(({ position, key }) => [position, key?.sequence]);
  };
  const expected = (origin: string, sequences: readonly number[]) =>
    sequences.map((sequence) => [{ origin, sequence }, sequence]);
  const sound = await open();
  for (const origin of origins) {
    assert.deepEqual(await copied(sound, origin), expected(origin, range(1, 60)));
    assert.deepEqual(await copied(sound, origin, [7, 33]), expected(origin, range(7, 33)));
  }
  await sound.close();

  const damaged = await openDamaged();
  for (const origin of origins) {
    const found = await copied(damaged, origin);
    assert.deepEqual(found, expected(origin, [...range(1, 10), ...range(21, 60)]));
    assert.deepEqual(await copied(damaged, origin, [12, 24]), expected(origin, range(21, 24)));
    await assert.rejects(damaged.log({ origin, from: 11 }), { code: "segment-damaged" });
  }
  // Given up, it stops no log: neither the one it is of, nor one whose entries came twice.
  for (const { segment } of await damaged.repairs.damage()) await damaged.repairs.giveUp(segment);
  for (const origin of origins) {
    const rest = await damaged.log({ origin, from: 11 });
    assert.deepEqual([rest?.entries, rest?.to], [40, 60]);
  }
  await damaged.close();
});

test("S4: a log that a peer cannot read on stops none of the others, and goes on when the damage is given up", async () => {
  using folder = temporaryFolder();
  const { clock, theirs, openDamaged } = await openTwice(folder.path);
  const damaged = await openDamaged();
  const openNode = (node: string, seed: number) =>
    openSealing(join(folder.path, `${node}.db`), { clock, node, seed });
  const [third, fourth] = [await openNode("n3", 3), await openNode("n4", 4)];
  await fourth.append(range(101, 120).map((n) => entry(n)));
  const later = await fourth.log({ origin: (await fourth.status()).origin, from: 1 });
  assert.ok(later);
  await damaged.apply(later.bytes);
  const named = Object.keys(await damaged.vector());
  assert.ok(
    named.indexOf(theirs) < named.indexOf(later.origin),
    "the one that stops is asked first",
  );

  const trustDomain = "cell-a.skerry";
  const random = seededRandom(5);
  const warnings: string[] = [];
  const warned = { ...log, warn: (message: string) => void warnings.push(message) };
  const nodeOf = (node: string, store: LocalStreamStore) => {
    const router = virtualRouter();
    const replication = createReplication(
      { store, clock, random, log: warned },
      { node, trustDomain },
    );
    replication.register(router);
    return { replication, end: { peer: peerOf(trustDomain, "node", node), router } };
  };
  const [one, two] = [nodeOf("n1", damaged), nodeOf("n3", third)];
  const link = virtualLink(
    { clock, random, faults: () => noFaults },
    { left: one.end, right: two.end },
  );
  two.replication.attach(link.right);
  const topsAfter = async (rounds: number) => {
    for (let turn = 0; turn < rounds * 20; turn++) await clock.advance(50);
    const vector = await third.vector();
    return [vector[theirs], vector[later.origin]];
  };
  assert.deepEqual(await topsAfter(5), [10, 20]);
  assert.deepEqual(warnings, ["a peer cannot read on in a log", "a peer cannot read on in a log"]);
  for (const { segment } of await damaged.repairs.damage()) await damaged.repairs.giveUp(segment);
  assert.deepEqual(await topsAfter(5), [60, 20]);

  link.cut();
  for (const { replication } of [one, two]) replication.stop();
  for (const store of [damaged, third, fourth]) await store.close();
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

/** What goes to the hub first, and how much of it: lanes, turns and budgets, in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { EntryInput } from "../../src/api/index.ts";
import {
  createDurability,
  createHubBudget,
  parseLane,
  type StreamDeclaration,
} from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { entry, range, readAll } from "../support/data.ts";
import { alarms, dayMs, egress, log, openNode, telemetry } from "../support/hub-node.ts";

/** Of a node that is its whole cell. */
const durabilityOf = (node: Awaited<ReturnType<typeof openNode>>) =>
  createDurability({
    store: node.store,
    peers: { vectorsByNode: () => new Map(), on: () => () => undefined },
    hub: node.sync,
    cellNodes: () => 1,
    leaves: () => true,
    clock: node.clock,
    log,
  });

test("D3, D5: an alarm goes ahead of a backlog within one batch, and reaches its level while the backlog waits", async () => {
  const node = await openNode({
    streams: [telemetry, alarms],
    limits: { bytesPerSecond: 3000 },
  });
  await node.send("telemetry", 1, 2000);
  await node.clock.advance(10_000);
  const early = await node.atHub("telemetry");
  assert.ok(early > 0 && early < 1000, `${early} entries in the first ten seconds`);
  const durability = durabilityOf(node);
  for (let alarm = 1; alarm <= 3; alarm++) {
    const before = node.pushed.length;
    const written = durability.append([entry(alarm, { stream: "alarms" })], {
      level: { level: "hub" },
      timeoutMs: 20_000,
    });
    for (let second = 0; second < 12; second++) await node.clock.advance(1000);
    assert.deepEqual(await written, {
      state: "reached",
      reached: { level: "hub" },
      stored: 1,
      duplicates: 0,
    });
    const behind = node.pushed.slice(before).findIndex(({ log: name }) => name.includes("#alarms"));
    // The first one opens its lane, behind what is under way.
    assert.ok(behind <= (alarm === 1 ? 9 : 1), `behind ${behind} batches`);
  }
  const { backlog } = await node.store.status();
  assert.ok(backlog.entries > 0 && (await node.atHub("telemetry")) < 2000);
  const inAll = 2000;
  for (let turn = 0; (await node.atHub("telemetry")) < inAll && turn < 40; turn++)
    await node.clock.advance(10_000);
  assert.deepEqual([await node.atHub("telemetry"), await node.atHub("alarms")], [inAll, 3]);
  await node.clock.advance(3000);
  assert.equal((await node.store.status()).backlog.entries, 0);
  durability.stop();
  // Measured on what is sent: never more than the rate, one batch apart.
  const seconds = node.clock.monotonicMs() / 1000;
  assert.ok(node.sentBytes() <= 3000 * seconds + 10_000, `${node.sentBytes()} in ${seconds} s`);
  await node.close();
});

test("an alarm waits for no batch and no entry of others, however slow the budget: and all keep to it together", async () => {
  const bytesPerSecond = 3000;
  const node = await openNode({
    streams: [telemetry, alarms],
    limits: { bytesPerSecond },
    batchBytesMax: 128 * 1024,
  });
  const durability = durabilityOf(node);
  const alarm = async (n: number) => {
    const sentMs = node.clock.monotonicMs();
    const written = durability.append([entry(n, { stream: "alarms" })], {
      level: { level: "hub" },
      timeoutMs: 60_000,
    });
    const end = { isThere: false };
    void written.then(() => (end.isThere = true));
    while (!end.isThere) await node.clock.advance(100);
    assert.equal((await written).state, "reached");
    return node.clock.monotonicMs() - sentMs;
  };
  await alarm(1);
  await node.send("telemetry", 1, 2000);
  await node.clock.advance(1000);
  for (const n of [2, 3, 4]) {
    const tookMs = await alarm(n);
    assert.ok(tookMs <= 500, `alarm ${n} after ${tookMs} ms`);
  }
  for (const { log: name, bytes } of node.pushed)
    assert.ok(bytes <= 4096 + 500, `${bytes} bytes at once of ${name}`);
  // One entry that takes half a minute puts the others in debt, not what is urgent.
  const from = node.clock.monotonicMs();
  const before = node.sentBytes();
  await node.send("telemetry", 5000, 1, 100_000);
  for (let second = 0; second < 120; second++) {
    await node.clock.advance(1000);
    if (second % 10 === 0) assert.ok((await alarm(100 + second)) <= 500);
  }
  const seconds = (node.clock.monotonicMs() - from) / 1000;
  const sent = node.sentBytes() - before;
  const burst = bytesPerSecond + 2 * 4096;
  assert.ok(sent <= bytesPerSecond * seconds + burst + 100_000, `${sent} in ${seconds} s`);
  durability.stop();
  await node.close();
});

test("a stream whose budget of the day is used up waits alone and loses nothing, whatever clocks and restarts do; equal ones share", async () => {
  const camera: StreamDeclaration = { name: "camera", retention: {}, egress, hasBudget: true };
  const node = await openNode({
    streams: [telemetry, { ...camera }, { ...camera, name: "radar" }],
    periodMs: 60_000,
    limitsByStream: { camera: { bytesPerDay: 20_000 }, radar: { bytesPerDay: 300_000 } },
  });
  await node.send("camera", 1, 300);
  await node.send("radar", 1, 300);
  await node.send("telemetry", 1, 300);
  await node.restart();
  node.pushed.length = 0;
  await node.clock.advance(5000);
  const given = (name: string, of = node.pushed) =>
    of
      .filter(({ log: of0 }) => (parseLane(of0)?.stream ?? "telemetry") === name)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  // Behind the opening of their lanes.
  const firstBatches = node.pushed.filter(({ bytes }) => bytes > 1000).slice(0, 12);
  const shares = ["camera", "radar", "telemetry"].map((name) => given(name, firstBatches));
  assert.ok(Math.max(...shares) - Math.min(...shares) <= 2 * 4096, `${shares.join(", ")} bytes`);
  for (let turn = 0; turn < 8; turn++) await node.clock.advance(10_000);
  assert.deepEqual([await node.atHub("radar"), await node.atHub("telemetry")], [300, 300]);
  const first = await node.atHub("camera");
  assert.ok(first > 0 && first < 300 && given("camera") <= 20_000 + 4096, `${first} entries`);
  const status = node.budget.status();
  assert.ok(status.usedUpForMs !== undefined && status.usedUpForMs <= dayMs);
  await node.clock.advance(60_000);
  const waiting = (await node.store.status()).streams.find(({ name }) => name === "camera");
  assert.equal(waiting?.backlog.entries, 300 - first);
  // The account outlives a restart; a clock that steps ahead begins no day.
  await node.restart();
  node.clock.stepWall(300 * dayMs);
  for (let turn = 0; turn < 5; turn++) await node.clock.advance(10_000);
  assert.equal(await node.atHub("camera"), first);
  // More of a budget, as a new day is: what waited goes, all of it.
  node.budget.declare(new Map());
  await node.clock.advance(60_000);
  assert.equal(await node.atHub("camera"), 300);
  await node.clock.advance(60_000);
  assert.equal((await node.store.status()).backlog.entries, 0);
  await node.close();
});

test("D4: a stream gets and loses its lane with entries under way: each is at the hub once, those without a key too", async () => {
  const node = await openNode({ streams: [telemetry, { ...alarms, priority: 0 }] });
  const unkeyed = (from: number): EntryInput[] =>
    range(from, from + 9).map((n) => ({
      stream: "alarms",
      body: Buffer.from(`{"u":${n}}`),
    }));
  const sends = async (turn: number) => {
    await node.send("telemetry", turn * 100 + 1, 100);
    await node.store.append(unkeyed(turn * 10));
  };
  const plain = [telemetry, { ...alarms, priority: 0 }];
  const apart = [telemetry, alarms];
  for (let turn = 0; turn < 24; turn++) {
    await sends(turn);
    await node.clock.advance(turn % 3);
    if (turn % 6 === 2) await node.declare(turn % 12 === 2 ? apart : plain);
    if (turn % 8 === 7) await node.restart();
  }
  for (let turn = 0; turn < 20; turn++) await node.clock.advance(1000);
  const there = await readAll(node.hub as never, { stream: "alarms" });
  const bodies = there.map(({ body }) => Buffer.from(body).toString()).sort();
  assert.deepEqual(
    bodies,
    range(0, 239)
      .map((n) => `{"u":${n}}`)
      .sort(),
  );
  assert.equal(await node.atHub("telemetry"), 2400);
  assert.equal((await node.store.status()).backlog.entries, 0);
  await node.close();
});

test("the budget of a day: counted ahead of a crash, left in part to what is urgent, no day shorter than 23 hours", async () => {
  const clock = createSimulatedClock();
  let kept: string | undefined;
  const keeper = {
    read: async () => kept,
    write: async (account: string) => void (kept = account),
  };
  const limits = { bytesPerDay: 1_000_000 };
  const open = async () => {
    const budget = createHubBudget({ clock, log, keeper }, limits);
    await budget.open();
    return budget;
  };
  const common = { stream: undefined, isUrgent: false };
  const room = (of: Awaited<ReturnType<typeof open>>, isUrgent = false) =>
    of.room({ ...common, isUrgent });
  let budget = await open();
  await budget.spend(common, 300_000);
  assert.deepEqual([room(budget), room(budget, true)], [600_000, 700_000]);
  // A crash: nothing was written at the end, and nothing is forgotten.
  budget = await open();
  const left = room(budget, true);
  assert.ok(left <= 700_000 && left > 650_000, `${left}`);
  await budget.spend(common, left - 50_000);
  assert.deepEqual([room(budget), room(budget, true)], [0, 50_000]);
  // Back and forth: neither begins a day, nor does a restart with a clock set back.
  clock.stepWall(40 * dayMs);
  assert.equal(room(budget), 0);
  clock.stepWall(-80 * dayMs);
  assert.equal(room(budget), 0);
  budget = await open();
  assert.equal(room(budget), 0);
  const waits = budget.status().usedUpForMs ?? 0;
  assert.ok(waits > 0 && waits <= dayMs);
  await clock.advance(waits + 1);
  assert.equal(room(budget), 900_000);
  // An hour before midnight, as the clock now has it, is no reason for a day of an hour.
  clock.stepWall(dayMs - (clock.wallMs() % dayMs) - 3_600_000);
  await budget.spend(common, 900_000);
  await clock.advance(3_700_000);
  assert.equal(room(budget), 0);
});

test("the budget of a second: at most its bytes at once; what is urgent waits for what is urgent, and the rest for both", async () => {
  const clock = createSimulatedClock();
  const keeper = { read: async () => undefined, write: async () => undefined };
  const budget = createHubBudget({ clock, log, keeper }, { bytesPerSecond: 10_000 });
  await budget.open();
  const [common, urgent] = [false, true].map((isUrgent) => ({ stream: undefined, isUrgent }));
  assert.ok(common && urgent);
  const rooms = () => [budget.room(common), budget.room(urgent)];
  assert.deepEqual(rooms(), [10_000, 10_000]);
  await budget.spend(common, 100_000);
  assert.deepEqual(rooms(), [0, 10_000]);
  await budget.spend(urgent, 15_000);
  assert.deepEqual(rooms(), [0, 0]);
  await clock.advance(1000);
  assert.deepEqual(rooms(), [0, 10_000]);
  await clock.advance(9000);
  assert.equal(budget.room(common), 0, "it makes up for what was urgent");
  await clock.advance(1000);
  assert.equal(budget.room(common), 10_000);
  const slow = createHubBudget({ clock, log, keeper }, { bytesPerSecond: 100 });
  await slow.open();
  assert.equal(slow.room(common), 4096);
});

test("C3, D6: of all that was committed of a stream with a lane the hub has no less for what others wrote behind it", async () => {
  const node = await openNode({ streams: [telemetry, alarms] });
  const durability = durabilityOf(node);
  const level = { level: "hub" } as const;
  const ended = async <T>(work: Promise<T>) => {
    for (let second = 0; second < 12; second++) await node.clock.advance(1000);
    return await work;
  };
  for (const stream of ["alarms", "telemetry"]) {
    const batch = range(1, 3).map((n) => entry(n, { stream }));
    const outcome = await ended(durability.append(batch, { level, timeoutMs: 10_000 }));
    assert.equal(outcome.state, "reached");
  }
  const settle = (stream: string) =>
    ended(durability.settle([{ stream, level }], { cover: undefined, timeoutMs: 10_000 }));
  for (const stream of ["alarms", "telemetry"])
    assert.deepEqual(await settle(stream), { reached: level });
  durability.stop();
  await node.close();
});

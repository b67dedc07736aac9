/** How far a write is said to have reached, and what is refused at once (D6); the way to the hub. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { DurabilityLevel } from "../../src/api/index.ts";
import { createDocumentWrites, createDurability, type Vector } from "../../src/data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createCell, type Cell } from "../../src/drill/simulated/convergence/streams-cell.ts";
import type { Node } from "../../src/drill/simulated/convergence/streams-node.ts";
import { noFaults, peerOf } from "../../src/drill/simulated/convergence/links.ts";
import {
  diary,
  entry,
  keysOf,
  range,
  readAll,
  telemetry,
  temporaryFolder,
} from "../support/data.ts";
import { never, openSealing } from "../support/segments.ts";

async function withCell(
  work: (cell: Cell, clock: SimulatedClock, node: (name: string) => Node) => Promise<void>,
) {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const cell = await createCell(
    { clock, random: seededRandom(7) },
    {
      folder: folder.path,
      names: ["n1", "n2", "n3"],
      streams: [telemetry, diary],
      faults: noFaults,
    },
  );
  await work(cell, clock, (name) => {
    const node = cell.nodes.get(name);
    assert.ok(node);
    return node;
  });
  await cell.stop();
}

/** Lets virtual time pass until the promise is settled. */
async function settled<T>(clock: SimulatedClock, promise: Promise<T>): Promise<T> {
  const state = { done: false };
  const end = promise.finally(() => {
    state.done = true;
  });
  for (let step = 0; !state.done && step < 1000; step++) await clock.advance(20);
  return end;
}
/** Waits in virtual time. */
async function until(
  clock: SimulatedClock,
  what: string,
  condition: () => boolean | Promise<boolean>,
) {
  for (let step = 0; step < 1000; step++) {
    if (await condition()) return;
    await clock.advance(100);
  }
  assert.fail(`waited 100 virtual seconds for ${what}`);
}
const level = (text: string): DurabilityLevel =>
  text.startsWith("peer")
    ? { level: "peer", peers: Number(text.at(-1)) }
    : { level: text as "memory" | "local" | "hub" };

test("D6: each level is reached when it holds, and not before", () =>
  withCell(async (cell, clock, node) => {
    const { durability } = node("n1");
    const append = (n: number, wanted: string, timeoutMs = 1000) =>
      settled(clock, durability.append([entry(n)], { level: level(wanted), timeoutMs }));
    assert.deepEqual(await append(1, "memory"), {
      state: "reached",
      reached: { level: "memory" },
      stored: 1,
      duplicates: 0,
    });
    const local = await append(2, "local");
    assert.deepEqual(local.state !== "refused" && local.reached, { level: "local" });
    const alone = await append(3, "peer1");
    assert.deepEqual(alone, {
      state: "short",
      reached: { level: "local" },
      stored: 1,
      duplicates: 0,
    });
    cell.connect("n1", "n2");
    const one = await append(4, "peer1");
    assert.deepEqual(one, { state: "reached", reached: level("peer1"), stored: 1, duplicates: 0 });
    assert.equal((await keysOf(node("n2").store)).length, 4);
    const two = await append(5, "peer2");
    assert.deepEqual(two.state === "short" && two.reached, level("peer1"));
    const hubless = await append(6, "hub");
    assert.deepEqual(hubless.state === "short" && hubless.reached, level("peer1"));
    cell.connect("n1", "hub");
    const hub = await append(7, "hub", 5000);
    assert.deepEqual(hub, { state: "reached", reached: level("hub"), stored: 1, duplicates: 0 });
    assert.equal((await readAll(cell.hub as never)).length, 7);
    // A resend of what came short before is acknowledged as far as it is by now.
    const again = await append(6, "hub");
    assert.deepEqual(again, { state: "reached", reached: level("hub"), stored: 0, duplicates: 1 });
    assert.equal(durability.waiting, 0);
  }));

test("D6: of what retention removed no more than local is said, at once; the others of its request wait for their level", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const store = await openSealing(join(folder.path, "s.db"), {
    clock,
    sealing: never,
    streams: [{ ...telemetry, retention: { bytesMax: 5000 } }],
  });
  await store.append(range(1, 200).map((n) => entry(n)));
  await store.retain();
  let peer: Vector = {};
  const on = () => () => undefined;
  const durability = createDurability({
    ...{ store, clock, log: silentLog },
    peers: { vectorsByNode: () => new Map([["n2", peer]]), on },
    hub: { vector: () => ({}), on },
    cellNodes: () => 2,
    leaves: () => true,
  });
  const append = (sequences: number[], wanted: string) =>
    settled(
      clock,
      durability.append(
        sequences.map((n) => entry(n)),
        { level: level(wanted), timeoutMs: 100 },
      ),
    );
  const gone = { reached: level("local"), removed: [0], duplicates: 1 };
  for (const wanted of ["local", "peer1", "hub"])
    assert.deepEqual(await append([1], wanted), { state: "reached", ...gone, stored: 0 });
  assert.deepEqual(await append([1, 201], "peer1"), { state: "short", ...gone, stored: 1 });
  peer = await store.vector();
  const again = await append([201, 1], "peer1");
  assert.deepEqual(again, {
    ...{ state: "reached", ...gone, removed: [1] },
    ...{ stored: 0, duplicates: 2 },
  });
  assert.deepEqual(await append([201], "peer1"), {
    ...{ state: "reached", reached: level("peer1") },
    ...{ stored: 0, duplicates: 1 },
  });
  await store.close();
});

test("D6: who left the cell holds nothing any more, whatever it still tells; in the cell again, at once", () =>
  withCell(async (cell, clock, node) => {
    const { durability, replication } = node("n1");
    const send = async (n: number, timeoutMs: number) => {
      const batch = [entry(n)];
      const wanted = { level: level("peer1"), timeoutMs };
      const outcome = await settled(clock, durability.append(batch, wanted));
      return outcome.state === "refused"
        ? outcome.code
        : `${outcome.state} ${outcome.reached.level}`;
    };
    cell.connect("n1", "n2");
    assert.equal(await send(1, 1000), "reached peer");
    // Its machine runs on, and goes on asking every ten seconds.
    replication.setNodes(["n1", "n3"]);
    assert.equal(await send(1, 15_000), "short local");
    replication.setNodes(["n1", "n2", "n3"]);
    assert.equal(await send(1, 500), "reached peer");
    assert.equal(await send(2, 500), "reached peer");
    // What it told as no node of the cell counts neither when it is one again.
    replication.setNodes(["n1", "n3"]);
    await clock.advance(1000);
    cell.cut("n1", "n2");
    replication.setNodes(["n1", "n2", "n3"]);
    assert.equal(await send(2, 1000), "short local");
    cell.connect("n1", "n2");
    assert.equal(await send(2, 1000), "reached peer");
    await cell.leave("n2");
    assert.ok(!cell.nodes.has("n2"));
    assert.equal(await send(2, 15_000), "short local");
    // What comes under that name later has what it says that it has.
    await cell.start("n2");
    assert.equal(await send(2, 1000), "short local");
    cell.connect("n1", "n2");
    assert.equal(await send(2, 5000), "reached peer");
    assert.equal((await keysOf(node("n2").store)).length, 2);
  }));

test("D6: what can never be reached is refused at once, and nothing is stored", () =>
  withCell(async (_cell, clock, node) => {
    const { durability, store } = node("n1");
    const cases: [string, string, RegExp][] = [
      ["telemetry", "peer3", /peer\(3\) needs 3 nodes beside this one, the cell has 3 in all/],
      ["diary", "hub", /stream diary has no egress/],
    ];
    for (const [stream, wanted, message] of cases) {
      const outcome = await durability.append([entry(1), entry(1, { stream })], {
        level: level(wanted),
        timeoutMs: 1000,
      });
      assert.equal(outcome.state === "refused" && outcome.code, "level-impossible");
      assert.match(outcome.state === "refused" ? outcome.message : "", message);
    }
    const unknown = await durability.append([entry(1, { stream: "telemetri" })], {
      level: level("memory"),
      timeoutMs: 1000,
    });
    assert.equal(unknown.state === "refused" && unknown.code, "stream-unknown");
    await clock.advance(100);
    assert.deepEqual(await keysOf(store), []);
  }));

test("D6: level hub is refused while a node knows of no hub, of streams and documents, and taken once it does", async () => {
  const clock = createSimulatedClock();
  let hasHub = false;
  const on = () => () => undefined;
  const vector = () => ({ "n1.a": 1 });
  const deps = {
    ...{ clock, log: silentLog, cellNodes: () => 1, hasHub: () => hasHub },
    peers: { vectorsByNode: () => new Map<string, Vector>(), on },
    hub: { vector, on, leaves: () => true },
    leaves: () => true,
  };
  const cover = vector();
  const entries = createDurability({
    ...deps,
    store: {
      ...{ node: "n1", vector: async () => cover, lanes: async () => ({}), offer: () => undefined },
      append: async () => ({ state: "stored", stored: 1, duplicates: 0, cover }),
    },
  });
  const documents = createDocumentWrites({
    ...deps,
    store: {
      node: "n1",
      write: async () => ({ state: "stored", changed: 1, warnings: [], versions: [], cover }),
    },
  });
  const asked = { level: level("hub"), timeoutMs: 100 };
  const outcomes = async () =>
    (await Promise.all([entries.append([entry(1)], asked), documents.write([], asked)])).map(
      (outcome) => ("code" in outcome ? outcome.code : outcome.state),
    );
  assert.deepEqual(await outcomes(), ["level-impossible", "level-impossible"]);
  hasHub = true;
  assert.deepEqual(await outcomes(), ["reached", "reached"]);
});

test("D6: what was acknowledged at memory and came to nothing is counted", () =>
  withCell(async (_cell, clock, node) => {
    const { durability } = node("n1");
    const bad = { ...entry(1), body: Buffer.from("{broken") };
    const outcome = await durability.append([bad], { level: level("memory"), timeoutMs: 1 });
    assert.equal(outcome.state, "reached");
    await clock.advance(10);
    assert.equal(durability.lostInMemory, 1);
  }));

test("D6: what was answered with memory for want of time and came to nothing is counted and said, once", async () => {
  const clock = createSimulatedClock();
  const on = () => () => undefined;
  const fails = async () => Promise.reject(new Error("fsync: EIO"));
  const isFull = async () => ({
    ...({ state: "refused", code: "disk-full", message: "no space", retryable: true } as const),
  });
  const stores = async () => ({ state: "stored", stored: 2, duplicates: 0, cover: {} }) as const;
  for (const [end, lost] of [
    [fails, 2],
    [isFull, 2],
    [stores, 0],
  ] as const) {
    const said: string[] = [];
    const stall = Promise.withResolvers<undefined>();
    const durability = createDurability({
      ...{ clock, cellNodes: () => 1, leaves: () => true },
      log: { ...silentLog, warn: (message) => void said.push(message) },
      peers: { vectorsByNode: () => new Map<string, Vector>(), on },
      store: {
        ...{
          node: "n1",
          vector: async () => ({}),
          lanes: async () => ({}),
          offer: () => undefined,
        },
        async append() {
          await stall.promise;
          return end();
        },
      },
    });
    const asked = { level: level("local"), timeoutMs: 100 };
    const outcome = await settled(clock, durability.append([entry(1), entry(2)], asked));
    assert.deepEqual(outcome, {
      ...{ state: "short", reached: level("memory"), stored: 0, duplicates: 0 },
    });
    assert.deepEqual([durability.lostInMemory, said.length], [0, 0]);
    stall.resolve(undefined);
    await clock.advance(10);
    assert.deepEqual([durability.lostInMemory, said.length], [lost, lost / 2]);
  }
});

test("D3: the log of a dead node goes on to the other peers and to the hub", () =>
  withCell(async (cell, clock, node) => {
    cell.connect("n1", "n2");
    await clock.advance(50);
    const outcome = await settled(
      clock,
      node("n1").durability.append(
        range(1, 20).map((n) => entry(n)),
        {
          level: level("peer1"),
          timeoutMs: 5000,
        },
      ),
    );
    assert.equal(outcome.state, "reached");
    await cell.crash("n1");
    cell.connect("n2", "n3");
    cell.connect("n3", "hub");
    await until(clock, "n3 and the hub to have n1's log", async () => {
      return (
        (await keysOf(node("n3").store)).length === 20 &&
        (await cell.hub.streams()).some(({ entries }) => entries === 20)
      );
    });
  }));

test("P1: the hub gets what the gate lets out, and knows how far it is; the backlog says what waits", () =>
  withCell(async (cell, clock, node) => {
    const { store, hubSync } = node("n1");
    await store.append([
      ...range(1, 5).map((n) => entry(n, { body: { n, secret: 1 } })),
      ...range(1, 5).map((n) => entry(n, { stream: "diary" })),
    ]);
    await clock.advance(60_000);
    const waiting = (await store.status()).backlog;
    assert.equal(waiting.entries, 5);
    assert.ok((waiting.oldestAgeMs ?? 0) >= 60_000);
    assert.equal(hubSync.connected, false);
    cell.connect("n1", "hub");
    await until(
      clock,
      "an empty backlog",
      async () => (await store.status()).backlog.entries === 0,
    );
    assert.equal(hubSync.connected, true);
    const { origin } = await store.status();
    assert.equal(hubSync.vector()[origin], 10);
    const bodies = (await readAll(cell.hub as never)).map(({ body }) =>
      Buffer.from(body).toString(),
    );
    assert.deepEqual(
      bodies,
      range(1, 5).map((n) => `{"n":${n}}`),
    );
    assert.deepEqual(
      (await cell.hub.streams()).map(({ name }) => name),
      ["telemetry"],
    );
    cell.cut("n1", "hub");
    assert.equal(hubSync.connected, false);
    await store.append([entry(6)]);
    cell.connect("n1", "hub");
    await until(
      clock,
      "the sixth entry",
      async () => (await readAll(cell.hub as never)).length === 6,
    );
  }));

test("P1: the hub's identity, and another cell's, get nothing of the streams from a node", () =>
  withCell(async (_cell, _clock, node) => {
    const { router, store } = node("n1");
    await store.append([entry(1)]);
    const strangers = [
      peerOf("hub.skerry", "hub", "main"),
      peerOf("cell-b.skerry", "node", "n1"),
      peerOf("cell-a.skerry", "app", "n2"),
    ];
    for (const method of ["data.push", "data.pull", "data.vector"]) {
      for (const peer of strangers) {
        const handler = router.handlers.get(method);
        assert.ok(handler);
        const incoming = {
          peer,
          link: undefined as never,
          body: Buffer.from("{}"),
          signal: new AbortController().signal,
        };
        await assert.rejects(handler(incoming) as Promise<Uint8Array>, { code: "forbidden" });
      }
    }
  }));

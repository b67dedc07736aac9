/** Full disks: what gives way, what is refused, what is never lost. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, keysOf, range, temporaryFolder } from "../support/data.ts";
import { letSeal, never, openSealing, small } from "../support/segments.ts";

test("D8: on a full disk streams that declare it give way, lowest priority first, counted; the others lose nothing", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const drop = { retention: { whenFull: "drop" as const } };
  const store = openStreamStore(
    { clock, random: seededRandom(5), log: silentLog },
    { path: join(folder.path, "s.db"), node: "n1", sealing: small, fileBytesMax: 2_000_000 },
  );
  await store.setStreams([
    { name: "readings", ...drop },
    { name: "events", ...drop, priority: 5 },
    { name: "alarms", retention: {}, priority: 10 },
  ]);
  const random = seededRandom(4);
  const body = () => ({
    pad: Buffer.from(range(1, 500).map(() => random.integer(256))).toString("hex"),
  });
  const send = (stream: string, from: number, count: number) =>
    store.append(range(from, from + count - 1).map((n) => entry(n, { stream, body: body() })));
  const countOf = async (stream: string) =>
    (await store.status()).streams.find(({ name }) => name === stream);

  for (let n = 1; n <= 1000; n += 100) {
    await send("alarms", n, 50);
    await send("events", n, 50);
    await send("readings", n, 50);
    await letSeal(clock, 2);
  }
  // Far more readings than there is room for: they only ever take their own room.
  for (let n = 2001; n <= 4000; n += 100) {
    const answer = await send("readings", n, 100);
    assert.deepEqual(answer.state === "stored" && answer.stored, 100, JSON.stringify(answer));
    await letSeal(clock, 2);
  }
  const readings = await countOf("readings");
  assert.equal((readings?.entries ?? 0) + (readings?.droppedWhenFull ?? 0), 2500);
  assert.ok((readings?.droppedWhenFull ?? 0) > 500);
  assert.deepEqual((await keysOf(store, { stream: "readings" })).at(-1), "p1/1/4000");
  assert.deepEqual(
    [(await countOf("events"))?.entries, (await countOf("events"))?.droppedWhenFull],
    [500, 0],
  );

  // Alarms may take the room of all the others, and are refused when there is none left.
  let refused: string | undefined;
  let alarms = 500;
  for (let n = 10_001; !refused && n < 20_000; n += 50) {
    const answer = await send("alarms", n, 50);
    if (answer.state === "refused") refused = answer.code;
    else alarms += answer.stored;
  }
  assert.equal(refused, "disk-full");
  assert.equal((await countOf("readings"))?.entries, 0);
  assert.equal((await countOf("events"))?.droppedWhenFull, 500);
  assert.equal((await keysOf(store, { stream: "alarms" })).length, alarms);
  await store.close();
});

/** A store on a full disk, all of which `readings` (which give way) and `alarms` (which do not) share. */
async function openFull(folder: string, clock: SimulatedClock) {
  const store = await openSealing(join(folder, "n2.db"), {
    clock,
    node: "n2",
    seed: 8,
    fileBytesMax: 1_000_000,
    streams: [
      { name: "readings", retention: { whenFull: "drop" }, egress: { keep: ["n"] } },
      { name: "alarms", retention: {}, priority: 10 },
    ],
  });
  const random = seededRandom(9);
  const some = (stream: string, from: number, count: number) =>
    range(from, from + count - 1).map((n) => {
      const pad = Buffer.from(range(1, 500).map(() => random.integer(256))).toString("hex");
      return entry(n, { stream, body: { n, pad } });
    });
  await store.append(some("alarms", 1, 50));
  for (let n = 1; n <= 3000; n += 50) {
    assert.equal((await store.append(some("readings", n, 50))).state, "stored");
    await letSeal(clock, 2);
  }
  const countOf = async (stream: string) =>
    (await store.status()).streams.find(({ name }) => name === stream);
  assert.ok(((await countOf("readings"))?.droppedWhenFull ?? 0) > 0);
  return { store, some, countOf };
}

test("D2, D8: what other nodes send finds room by the same policy; without room nothing of it is stored, and no vector passes it", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const { store, some, countOf } = await openFull(folder.path, clock);
  const peer = await openSealing(join(folder.path, "n1.db"), {
    clock,
    streams: [{ name: "alarms", retention: {} }],
  });
  const { origin } = await peer.status();
  let stored = 0;
  let refused: unknown;
  for (let from = 1001; !refused && from < 4000; from += 50) {
    await peer.append(some("alarms", from, 50));
    const batch = await peer.log({ origin, from: stored + 1, bytesMax: 1e6 });
    try {
      const answer = await store.apply(batch?.bytes ?? new Uint8Array());
      stored = answer.top;
    } catch (error) {
      refused = error;
    }
  }
  assert.equal((refused as { code?: string }).code, "disk-full");
  assert.equal((await countOf("readings"))?.entries, 0);
  assert.equal((await store.vector())[origin] ?? 0, stored);
  const kept = await keysOf(store, { stream: "alarms" });
  assert.ok(stored > 50 && kept.length === 50 + stored, `${kept.length} of ${stored}`);
  await store.close();
  await peer.close();
});

test("D8, C1: an acknowledgement finds room on a full disk, as an entry of its stream would", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const store = await openSealing(join(folder.path, "n1.db"), {
    clock,
    sealing: never,
    fileBytesMax: 400_000,
    streams: [
      { name: "readings", retention: { whenFull: "drop" }, priority: 10 },
      { name: "ballast", retention: {} },
    ],
  });
  await store.append(range(1, 400).map((n) => entry(n, { stream: "readings" })));
  const id = { stream: "readings", group: "workers" };
  await store.groups.create(id, { from: "oldest" });
  // Not a page is left, and ballast may take none of what readings have.
  let next = 1;
  for (const bytes of [20_000, 2000, 10])
    for (let state = "stored"; state === "stored"; next++) {
      const body = { pad: "x".repeat(bytes) };
      ({ state } = await store.append([entry(next, { stream: "ballast", body })]));
    }
  // What is done is not one piece: there is more and more to write.
  const taken = [];
  for (let n = 0; n < 240; n++) taken.push(await store.groups.take(id, { limit: 1 }));
  for (const delivery of taken.filter((_, index) => index % 2 === 1)) {
    const answer = await store.groups.ack(id, delivery?.delivery ?? "");
    assert.equal(answer.state, "acknowledged", JSON.stringify(answer));
  }
  const [, readings] = (await store.status()).streams;
  assert.ok((readings?.droppedWhenFull ?? 0) > 0, JSON.stringify(readings));
  await store.close();
});

test("D8: entries that are rows give way by the hundred, not one with each transaction", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "n1.db");
  const store = await openSealing(path, {
    sealing: never,
    fileBytesMax: 3_000_000,
    streams: [
      { name: "readings", retention: { whenFull: "drop" } },
      { name: "alarms", retention: {}, priority: 10 },
    ],
  });
  const droppedSoFar = async () =>
    (await store.status()).streams.find(({ name }) => name === "readings")?.droppedWhenFull ?? 0;
  for (let n = 1; (await droppedSoFar()) === 0; n += 200) {
    const readings = range(n, n + 199).map((at) => entry(at, { stream: "readings" }));
    assert.equal((await store.append(readings)).state, "stored");
  }
  const [dropped, transactions] = [await droppedSoFar(), transactionsOf(path)];
  const pad = "x".repeat(500);
  for (let n = 1; (await droppedSoFar()) < dropped + 2000; n += 20) {
    const alarms = range(n, n + 19).map((at) => entry(at, { stream: "alarms", body: { pad } }));
    assert.equal((await store.append(alarms)).state, "stored");
  }
  const made = transactionsOf(path) - transactions;
  assert.ok(made < 200, `${made} transactions for ${await droppedSoFar()} entries`);
  await store.close();
});

/** How often something was committed, as SQLite counts it (sqlite.org/walformat.html, `iChange`). */
const transactionsOf = (path: string): number => readFileSync(`${path}-shm`).readUInt32LE(8);

/** What comes in numbers, from another node or as one append, is sealed as it comes; nothing that a store answers tells. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { EntryInput } from "../../src/api/index.ts";
import { decodeBatch, type LocalStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { entry, keysOf, range, readAll, temporaryFolder } from "../support/data.ts";
import { look, openSealing as open } from "../support/segments.ts";

/** The sealer never comes: what is sealed was sealed as it came. */
const sealing = { entriesMax: 100, tailEntries: 50, periodMs: 1e9 };
const telemetryOf = async (store: LocalStreamStore) => {
  const { streams } = await store.status();
  return streams.find(({ name }) => name === "telemetry");
};
const bodies = (entries: readonly EntryInput[]) =>
  entries.map(({ body }) => Buffer.from(body).toString());
const logOf = async (store: LocalStreamStore, origin: string) => {
  const entries: EntryInput[] = [];
  for (let from = 1; ;) {
    const batch = await store.log({ origin, from });
    if (!batch) return entries;
    entries.push(...decodeBatch(batch.bytes).entries);
    from = batch.to + 1;
  }
};

test("S1, S2, D3, D4: a node that catches up seals what comes, its own rows with it, and answers as if it had not", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "n1.db");
  const openOwn = () => open(path, { clock, sealing });
  const peer = await open(join(folder.path, "n2.db"), { clock, node: "n2", seed: 2, sealing });
  let own = await openOwn();
  const numbered = (from: number, to: number, producer: string) =>
    range(from, to).map((n) => entry(n, { producer, atMs: n }));
  for (let from = 1; from <= 2000; from += 250)
    await peer.append([
      ...numbered(from, from + 249, "p2"),
      { stream: "telemetry", atMs: from, body: Buffer.from(`{"unkeyed":${from}}`) },
      entry(from, { stream: "diary", producer: "d", atMs: from }),
    ]);
  // Some of the same entries came here as well: these stand once, at their first place.
  await own.append([...numbered(1, 30, "p1"), ...numbered(901, 930, "p2")]);
  const { origin } = await peer.status();
  for (let turn = 0; ; turn++) {
    const from = ((await own.vector())[origin] ?? 0) + 1;
    const batch = await peer.log({ origin, from, bytesMax: 5000 });
    if (!batch) break;
    const answers = await Promise.all([
      own.apply(batch.bytes),
      own.apply(batch.bytes),
      own.append(numbered(31 + turn, 31 + turn, "p1")),
    ]);
    assert.deepEqual(
      answers.map(({ state }) => state),
      ["applied", "applied", "stored"],
    );
    if (turn === 3) {
      await own.close();
      own = await openOwn();
    }
  }
  const found = await telemetryOf(own);
  assert.ok((found?.sealed ?? 0) > 1500, `${found?.sealed} of ${found?.entries} are sealed`);
  const keys = (await keysOf(own)).filter((key) => key.startsWith("p2/"));
  assert.equal(keys.length, 2000);
  assert.equal(new Set(keys).size, 2000);
  assert.equal((await readAll(own)).filter(({ key }) => !key).length, 8);
  assert.equal((await readAll(own, { stream: "diary" })).length, 8);
  assert.deepEqual(bodies(await logOf(own, origin)), bodies(await logOf(peer, origin)));
  await Promise.all([own.close(), peer.close()]);
});

/** One request: mostly new and in order, else sent again, with gaps, out of order, without keys, or of two streams. */
function requestOf(random: Random, next: Map<string, number>): EntryInput[] {
  const isMixed = random.integer(8) === 0;
  const request = range(1, 1 + random.integer(70)).map((at): EntryInput => {
    const producer = `p${random.integer(3)}`;
    const stream = isMixed && at % 3 === 0 ? "diary" : "telemetry";
    const sequence = next.get(`${stream}/${producer}`) ?? 1;
    next.set(`${stream}/${producer}`, sequence + (random.integer(50) === 0 ? 3 : 1));
    const { key, ...unkeyed } = entry(sequence, { stream, producer, atMs: random.integer(1000) });
    return random.integer(40) === 0 ? unkeyed : { ...unkeyed, ...(key ? { key } : {}) };
  });
  switch (random.integer(8)) {
    case 0:
      return request.toReversed();
    case 1: {
      const again = range(1, 10).map((n) => entry(n * 3, { producer: `p${random.integer(3)}` }));
      return [...request, ...again];
    }
    default:
      return request;
  }
}

test("S1, S2, D3, D4: what is appended in numbers is sealed as it comes, and answers as if it had not", async () => {
  let sealedOfAll = 0;
  for (const seed of range(1, 8)) {
    using folder = temporaryFolder();
    const random = seededRandom(seed);
    const clock = createSimulatedClock();
    const openAs = (name: string, entriesMax: number) =>
      open(join(folder.path, name), { clock, sealing: { ...sealing, entriesMax }, seed });
    let own = await openAs("own.db", 40);
    let rows = await openAs("rows.db", 1e6);
    const next = new Map<string, number>();
    for (let turn = 0; turn < 60; turn++) {
      const request = requestOf(random, next);
      // Each twice in one transaction, now and then: the second is known by the first.
      const times = random.integer(5) === 0 ? 2 : 1;
      const appendTo = (store: LocalStreamStore) =>
        Promise.all(range(1, times).map(() => store.append(request)));
      assert.deepEqual(await appendTo(own), await appendTo(rows), `seed ${seed}, turn ${turn}`);
      if (turn !== 30) continue;
      await Promise.all([own.close(), rows.close()]);
      [own, rows] = [await openAs("own.db", 40), await openAs("rows.db", 1e6)];
    }
    const { origin } = await own.status();
    for (const stream of ["telemetry", "diary"]) {
      const placesOf = async (store: LocalStreamStore) =>
        (await readAll(store, { stream })).map(({ atMs, key, body, position }) =>
          JSON.stringify([atMs, key, Buffer.from(body).toString(), position]),
        );
      assert.deepEqual(await placesOf(own), await placesOf(rows), `seed ${seed}, ${stream}`);
    }
    assert.deepEqual(bodies(await logOf(own, origin)), bodies(await logOf(rows, origin)));
    assert.equal((await telemetryOf(rows))?.sealed, 0);
    sealedOfAll += (await telemetryOf(own))?.sealed ?? 0;
    await Promise.all([own.close(), rows.close()]);
  }
  assert.ok(sealedOfAll > 2000, `${sealedOfAll} were sealed as they came`);
});

test("D4, D8: what retention removed is a duplicate when it is appended again in numbers", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const streams = [{ name: "telemetry", retention: { ageMs: 60_000 } }];
  const own = await open(join(folder.path, "n1.db"), { clock, sealing, streams });
  const request = range(1, 200).map((n) => entry(n));
  await own.append(request);
  assert.equal((await telemetryOf(own))?.sealed, 200);
  await clock.advance(200_000);
  await own.append([entry(1000)]);
  await own.retain();
  assert.deepEqual(await keysOf(own), ["p1/1/1000"]);
  const again = await own.append(request);
  const removed = range(0, 199);
  assert.deepEqual(again, { state: "stored", stored: 0, duplicates: 200, removed, cover: {} });
  assert.deepEqual(await keysOf(own), ["p1/1/1000"]);
  await own.close();
});

test("an append in numbers makes segments of at most so many entries and bytes; a large one stays rows", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "n1.db");
  const own = await open(path, { sealing: { ...sealing, bytesMax: 10_000 } });
  const request = (from: number, bytes: number) =>
    range(from, from + 99).map((n) => entry(n, { body: { n, text: "x".repeat(bytes) } }));
  await own.append(request(1, 500));
  await own.append(request(101, 12_000));
  const found = await telemetryOf(own);
  await own.close();
  assert.deepEqual([found?.entries, found?.sealed, look(path).segments], [200, 100, 5]);
});

test("D8: a stream that declares little stays rows when it comes in numbers", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const peer = await open(join(folder.path, "n2.db"), { clock, node: "n2", seed: 2, sealing });
  await peer.append(range(1, 500).map((n) => entry(n)));
  const { origin } = await peer.status();
  const batch = await peer.log({ origin, from: 1 });
  for (const [name, retention] of Object.entries({ small: { bytesMax: 500_000 }, usual: {} })) {
    const streams = [{ name: "telemetry", retention }];
    const own = await open(join(folder.path, `${name}.db`), { clock, sealing, streams });
    await own.apply(batch?.bytes ?? new Uint8Array());
    assert.equal((await telemetryOf(own))?.sealed, name === "small" ? 0 : 500, name);
    await own.close();
  }
  await peer.close();
});

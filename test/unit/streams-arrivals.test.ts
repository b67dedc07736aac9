/** What comes from another node in numbers is sealed as it comes; nothing that a store answers tells. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { EntryInput } from "../../src/api/index.ts";
import { decodeBatch, type LocalStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { entry, keysOf, range, readAll, temporaryFolder } from "../support/data.ts";
import { openSealing as open } from "../support/segments.ts";

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

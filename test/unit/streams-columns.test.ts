/** What moves in numbers is never an object each; nothing that a store answers or sends tells. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { EntryInput } from "../../src/api/index.ts";
import { decodeBatch, type LocalStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, keysOf, range, temporaryFolder } from "../support/data.ts";
import { look, never, openSealing as open, small } from "../support/segments.ts";

for (const seed of range(1, 6))
  test(`S1, S2, D2: logs out of segments are those out of rows, seed ${seed}`, () =>
    compareLogs(seed));

async function compareLogs(seed: number): Promise<void> {
  using folder = temporaryFolder();
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)] as T;
  const clock = createSimulatedClock();
  const paths = ["sealed", "rows"].map((name) => join(folder.path, `${name}.db`));
  const stores = await Promise.all(
    paths.map((path, index) => open(path, { clock, seed, sealing: index === 0 ? small : never })),
  );
  const [sealed, rows] = stores as [LocalStreamStore, LocalStreamStore];
  const peer = await open(join(folder.path, "peer.db"), { clock, node: "n2", seed: seed + 100 });
  const alike = async <T>(
    what: string,
    ask: (store: LocalStreamStore) => Promise<T>,
  ): Promise<T> => {
    const [one, other] = await Promise.all([ask(sealed), ask(rows)]);
    assert.deepEqual(one, other, what);
    return one;
  };

  const sequences = new Map<string, number>();
  let unkeyed = 0;
  /** New ones, as a device collects them; now and then one that came before. */
  const readings = (count: number, producers: readonly string[]): EntryInput[] => {
    const stream = random.float() < 0.85 ? "telemetry" : "diary";
    const atMs = clock.wallMs() + random.integer(50);
    const isKeyed = random.float() < 0.7;
    return range(1, count).map((n) => {
      if (!isKeyed) return { stream, atMs, body: Buffer.from(`{"u":${++unkeyed}}`) };
      const producer = pick(producers);
      const at = `${stream}/${producer}`;
      const last = sequences.get(at) ?? 0;
      if (last > 0 && random.float() < 0.03)
        return entry(1 + random.integer(last), { stream, producer, atMs: atMs + n });
      const sequence = last + 1;
      sequences.set(at, sequence);
      return entry(sequence, { stream, producer, atMs: atMs + n, epoch: pick([1, 1, 1, 2]) });
    });
  };
  const pieceOf = async (
    store: LocalStreamStore,
    origin: string,
    from: number,
    bytesMax: number,
  ) => {
    const batch = await store.log({ origin, from, bytesMax });
    const plain = batch && decodeBatch(batch.bytes);
    return (
      plain && {
        ...plain,
        entries: plain.entries.map(({ body, ...of }) => ({
          ...of,
          body: Buffer.from(body).toString(),
        })),
      }
    );
  };
  const pieceBytes = [1, 60, 300, 1500];
  const compareLog = async (origin: string, first: number, pieces: number, sizes = pieceBytes) => {
    for (let from = first, piece = 0; piece < pieces; piece++) {
      const bytesMax = pick(sizes);
      const found = await alike(`log of ${origin} from ${from}, ${bytesMax} bytes`, (store) =>
        pieceOf(store, origin, from, bytesMax),
      );
      if (!found) return;
      from = found.to + 1;
    }
  };

  const { origin: theirs } = await peer.status();
  const { origin: own } = await alike("status", async (store) => ({
    origin: (await store.status()).origin,
  }));
  for (let step = 0; step < 120; step++) {
    const action = random.integer(10);
    if (action < 3) {
      const request = readings(5 + random.integer(36), ["p1", "p2", "p3"]);
      await alike("append", (store) => store.append(request));
    } else if (action === 3) {
      const request = readings(1 + random.integer(4), ["p1", "q1"]);
      await alike("append a few", (store) => store.append(request));
    } else if (action < 6) {
      await peer.append(readings(1 + random.integer(40), ["p1", "q2", "q3"]));
      const top = (await rows.vector())[theirs] ?? 0;
      const from = Math.max(1, top + 1 - pick([0, 0, 3, 10]));
      const batch = await peer.log({ origin: theirs, from, bytesMax: pick([200, 1000, 5000]) });
      if (batch) await alike(`apply from ${from}`, (store) => store.apply(batch.bytes));
    } else if (action < 8) {
      await clock.advance(pick([10, 50]));
    } else {
      const origin = pick([own, theirs]);
      const top = (await rows.vector())[origin] ?? 0;
      await compareLog(origin, 1 + random.integer(top + 1), 4);
    }
  }
  for (const bytes of pieceBytes)
    for (const origin of [own, theirs]) await compareLog(origin, 1, Infinity, [bytes]);
  await alike("all of telemetry", (store) => keysOf(store));
  await Promise.all([...stores, peer].map((store) => store.close()));
  assert.ok((look(paths[0] ?? "").segments ?? 0) > 10);
  assert.equal(look(paths[1] ?? "").segments, 0);
}

test("D2: a log that is all sealed, read in pieces that fill no segment, has no hole and ends at its top", async () => {
  using folder = temporaryFolder();
  const store = await open(join(folder.path, "s.db"), { sealing: { ...small, periodMs: 1e9 } });
  await store.append(range(1, 9).map((n) => entry(n)));
  await store.append(range(10, 18).map((n) => entry(n)));
  const { origin } = await store.status();
  for (const bytesMax of range(1, 200)) {
    const found: number[] = [];
    let to = 0;
    for (;;) {
      const batch = await store.log({ origin, from: to + 1, bytesMax });
      if (!batch) break;
      assert.equal(batch.from, to + 1);
      found.push(...decodeBatch(batch.bytes).entries.map(({ position }) => position.sequence));
      to = batch.to;
    }
    assert.deepEqual([to, ...found], [18, ...range(1, 18)], `${bytesMax} bytes a piece`);
  }
  await store.close();
});

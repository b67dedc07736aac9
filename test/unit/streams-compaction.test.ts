/** Small segments are put together in the background, and nothing that a store answers or sends tells. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openGlobalStore, type LocalStreamStore } from "../../src/data/index.ts";
import { decodeBatch } from "../../src/data/batch/codec.ts";
import { createTables, type Tables } from "../../src/data/tables/tables.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { expectedOf, linesOf, mixedBatches } from "../contract/data-global.ts";
import { meddle } from "../support/audit.ts";
import { entry, keysOf, range, temporaryFolder } from "../support/data.ts";
import { letSeal, look, openSealing, small } from "../support/segments.ts";

const hubAt = (path: string, clock = createSimulatedClock()) =>
  openGlobalStore(
    { clock, random: seededRandom(1), log: silentLog, recheck: { check: () => {} } },
    { path },
  );

for (const seed of range(1, 3))
  test(`S1, S2: a hub's small segments become few, and all of them is there, once and in its place, seed ${seed}`, async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "hub.db");
    const clock = createSimulatedClock();
    const batches = mixedBatches(seed, 60);
    const expected = expectedOf(batches);
    let store = hubAt(path, clock);
    for (const { bytes } of batches) await store.ingest("a", new Uint8Array(bytes));
    const before = { lines: await linesOf(store, "a"), streams: await store.streams("a") };
    assert.deepEqual(before.lines, expected);
    await store.close();
    const small = look(path);

    store = hubAt(path, clock);
    await letSeal(clock, 100 * small.segments);
    assert.deepEqual(await linesOf(store, "a"), expected);
    const after = await store.streams("a");
    const bytes = (of: typeof after) => of.reduce((sum, stream) => sum + stream.bytes, 0);
    assert.ok(bytes(after) < bytes(before.streams), `${bytes(after)}`);
    // Positions and keys in them stay known.
    for (const batch of batches) await store.ingest("a", new Uint8Array(batch.bytes));
    assert.deepEqual(await linesOf(store, "a"), expected);
    await store.close();

    const { segments, rows } = look(path);
    assert.ok(segments < small.segments / 2, `${segments} of ${small.segments}`);
    const db = openDatabase(path);
    const count = (sql: string) => Number(db.prepare(sql).get()?.["n"]);
    assert.equal(
      count("SELECT sum(entries) AS n FROM segment") + rows,
      Object.values(expected).flat().length,
    );
    assert.equal(
      count("SELECT sum(entries) AS n FROM piece"),
      count("SELECT sum(entries) AS n FROM segment"),
    );
    assert.equal(count("SELECT max(entries) AS n FROM segment") <= 1000, true);
    for (const [what, of] of [
      ["content", "segment_bytes"],
      ["plan", "segment_plan"],
    ])
      assert.equal(count(`SELECT count(*) AS n FROM ${of}`), segments, what);
    assert.equal(
      count("SELECT count(*) AS n FROM run WHERE segment NOT IN (SELECT id FROM segment)"),
      0,
    );
    db.close();
  });

const positionsOf = async (store: LocalStreamStore, origin: string) => {
  const batch = await store.log({ origin, from: 1, bytesMax: 1e7 });
  return decodeBatch(batch?.bytes ?? new Uint8Array()).entries.map(({ position, key }) => [
    position.sequence,
    key?.sequence,
  ]);
};

test("S2, D4: entries that came twice are found in the segment that theirs was joined into, and go with it", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "n1.db");
  const open = () => openSealing(path, { clock, node: "n1", seed: 1, sealing: small });
  const other = await openSealing(join(folder.path, "n2.db"), { clock, node: "n2", seed: 2 });
  let store = await open();
  // Five at a time: as they come, in segments of their own.
  for (let first = 1; first <= 60; first += 5)
    for (const one of [store, other])
      await one.append(range(first, first + 4).map((n) => entry(n)));
  const theirs = await other.log({ origin: (await other.status()).origin, from: 1, bytesMax: 1e7 });
  assert.ok(theirs);
  assert.deepEqual(await store.apply(theirs.bytes), await store.apply(theirs.bytes));
  const origins = [(await store.status()).origin, theirs.origin];
  const keys = await keysOf(store);
  await store.close();
  assert.equal(look(path).segments, 12);

  store = await open();
  await letSeal(clock, 12);
  for (const origin of origins)
    assert.deepEqual(
      await positionsOf(store, origin),
      range(1, 60).map((n) => [n, n]),
    );
  assert.deepEqual(await keysOf(store), keys);
  const again = await store.append(range(1, 60).map((n) => entry(n)));
  assert.deepEqual(again.state === "stored" && [again.stored, again.duplicates], [0, 60]);
  await store.close();
  assert.equal(look(path).segments, 6);

  store = await open();
  await store.setStreams([{ name: "telemetry", retention: { bytesMax: 1 } }]);
  assert.equal((await store.retain()).removed, 60);
  for (const origin of origins) assert.deepEqual(await positionsOf(store, origin), []);
  await store.close();
  await other.close();
});

test("S3: one that is damaged stays as it is, named, and those beside it are put together", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const path = join(folder.path, "n1.db");
  let store = await openSealing(path, { clock });
  for (let first = 1; first <= 50; first += 5)
    await store.append(range(first, first + 4).map((n) => entry(n)));
  await store.close();
  meddle(path, "UPDATE segment_bytes SET bytes = zeroblob(100) WHERE id = 11");

  store = await openSealing(path, { clock });
  await letSeal(clock, 20);
  assert.deepEqual(
    (await store.status()).damaged.map(({ entries }) => entries),
    [5],
  );
  await store.close();
  const db = openDatabase(path);
  const sizes = db.prepare("SELECT id, entries FROM segment ORDER BY id").all();
  db.close();
  assert.deepEqual(
    sizes.map((row) => [Number(row["id"]), Number(row["entries"])]),
    [
      [1, 10],
      [11, 5],
      [16, 10],
      [26, 10],
      [36, 10],
      [46, 5],
    ],
  );
});

for (const [what, change] of Object.entries({
  "one of them is taken away": ({ tables, first }: Opened) => {
    tables.sealing.remove(tables.segments.held(first));
  },
  "they are rows again, and sealed anew": ({ tables, origin }: Opened) => {
    const { names, sealing } = tables;
    const [stream] = names.streams();
    assert.ok(stream);
    sealing.unseal(names.originById(origin), [stream], 0);
    const limits = { entriesMax: 5, bytesMax: 1e6, accept: () => true };
    for (let sealed = 1; sealed > 0;) {
      const packing = sealing.packing(stream, limits);
      let step = packing.next();
      while (!step.done) step = packing.next();
      sealed = step.value ? sealing.seal(step.value) : 0;
    }
  },
  "one of them is found damaged": ({ db, tables, first }: Opened) => {
    db.prepare("UPDATE segment_bytes SET bytes = zeroblob(9) WHERE id = ?").run(first);
    tables.segments.check(first);
  },
}))
  test(`S2: nothing is put together when ${what} meanwhile`, async () => {
    using folder = temporaryFolder();
    const clock = createSimulatedClock();
    const path = join(folder.path, "n1.db");
    const store = await openSealing(path, { clock });
    for (let first = 1; first <= 20; first += 5)
      await store.append(range(first, first + 4).map((n) => entry(n)));
    await store.close();
    const db = openDatabase(path);
    const tables = createTables({ clock, db });
    const [stream] = tables.names.streams();
    assert.ok(stream);
    const inOneGo = <T>(steps: Generator<void, T>): T => {
      let step = steps.next();
      while (!step.done) step = steps.next();
      return step.value;
    };
    const limits = { entriesMax: 10, bytesMax: 1e6, accept: () => true };
    const group = inOneGo(tables.compaction.finding(stream, limits)) ?? [];
    assert.deepEqual(
      group.map(({ id }) => id),
      [1, 6],
    );
    const joined = inOneGo(tables.compaction.joining(group));
    assert.ok(joined);
    const [piece] = tables.segments.piecesOf(tables.segments.held(1));
    change({ db, tables, first: 1, origin: piece?.origin ?? 0 });
    assert.equal(tables.compaction.join(joined), false);
    db.close();
  });
type Opened = {
  readonly db: ReturnType<typeof openDatabase>;
  readonly tables: Tables;
  readonly first: number;
  readonly origin: number;
};

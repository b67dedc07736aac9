/** The hub's store on SQLite seals what comes in numbers, and gives it away whole. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openGlobalStore, walkGlobalStore, type Vector } from "../../src/data/index.ts";
import { encodeBatch } from "../../src/data/batch/codec.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { expectedOf, linesOf, mixedBatches } from "../contract/data-global.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";

const openAt = (path: string, options: { retentionAgeMs?: number } = {}, clock = systemClock) =>
  openGlobalStore(
    { clock, random: systemRandom, log: silentLog, recheck: { check: () => {} } },
    { path, ...options },
  );

const sorted = (lines: Record<string, string[]>) =>
  Object.fromEntries(Object.entries(lines).map(([name, all]) => [name, all.toSorted()]));

test("S1, S2: what comes in numbers is sealed as it comes, is there after a start, and moves whole, cut short too", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "hub.db");
  const batches = mixedBatches(5, 60);
  const expected = expectedOf(batches);
  for (const part of [batches.slice(0, 30), batches.slice(30)]) {
    const store = openAt(path);
    for (const { bytes } of part) await store.ingest("a", new Uint8Array(bytes));
    await store.close();
  }
  const reopened = openAt(path);
  assert.deepEqual(await linesOf(reopened, "a"), expected);
  await reopened.close();

  const db = openDatabase(path);
  const count = (sql: string) => Number(db.prepare(sql).get()?.["n"]);
  const sealed = count("SELECT sum(entries) AS n FROM segment");
  const rows = count("SELECT count(*) AS n FROM entry");
  assert.equal(sealed + rows, Object.values(expected).flat().length);
  assert.ok(sealed > 2 * rows, `${sealed} entries are sealed, ${rows} are rows`);
  const behind = count(
    `SELECT count(*) AS n FROM segment s WHERE EXISTS (
       SELECT 1 FROM entry e WHERE e.stream = s.stream AND e.id < s.last_id)`,
  );
  assert.equal(behind, 0);
  db.close();

  const copy = openAt(join(folder.path, "copy.db"));
  for (const pieces of [1, Infinity]) {
    const walk = walkGlobalStore(path);
    assert.deepEqual(
      Object.fromEntries(walk.counts),
      Object.fromEntries(Object.entries(expected).map(([name, all]) => [`a/${name}`, all.length])),
    );
    const tops = new Map<string, Vector>([["a", await copy.vector("a")]]);
    let taken = 0;
    for (const piece of walk.batches(tops)) {
      for (const { cell, batch } of piece)
        assert.equal((await copy.ingest(cell, encodeBatch(batch))).state, "applied");
      if (++taken >= pieces) break;
    }
    walk.close();
  }
  // A piece of each log at a time: in another order across logs.
  assert.deepEqual(sorted(await linesOf(copy, "a")), sorted(expected));
  await copy.close();
});

test("S1, S2: rows and what comes behind them are one segment, cut where its log lies in another; small ones become one", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "hub.db");
  const clock = createSimulatedClock();
  let store = openAt(path, {}, clock);
  const lane = "n1.x#telemetry";
  const took = async (log: string, piece: readonly [number, number], from = piece[0]) => {
    const entries = range(...piece).map((n) => ({
      ...entry(n, { producer: n % 2 === 0 ? "even" : "odd" }),
      atMs: n,
      position: { origin: log, sequence: n },
    }));
    const bytes = encodeBatch({ origin: log, from, to: piece[1], entries });
    assert.equal((await store.ingest("a", bytes)).state, "applied");
  };
  // The lane runs ahead; of what lies before it a few come late, and are rows until more comes.
  await took(lane, [61, 200], 1);
  await took("n1.x", [1, 60]);
  await took(lane, [201, 320]);
  await took(lane, [321, 440]);
  const shown = async () => {
    const { entries } = await store.read({ stream: "telemetry", cell: "a", limit: 1000 });
    return entries.map(({ key, body, position }) => [
      `${key?.producer} ${key?.sequence} ${Buffer.from(body).toString()}`,
      position.sequence,
    ]);
  };
  const expected = [...range(61, 200), ...range(1, 60), ...range(201, 440)].map((n) => [
    `${n % 2 === 0 ? "even" : "odd"} ${n} {"n":${n}}`,
    n,
  ]);
  assert.deepEqual(await shown(), expected);
  await store.close();
  const pieces = () => {
    const db = openDatabase(path);
    assert.equal(Number(db.prepare("SELECT count(*) AS n FROM entry").get()?.["n"]), 0);
    const found = db
      .prepare("SELECT first_sequence, last_sequence FROM piece ORDER BY last_sequence")
      .all()
      .map((row) => [Number(row["first_sequence"]), Number(row["last_sequence"])]);
    db.close();
    return found;
  };
  assert.deepEqual(pieces(), [
    [1, 60],
    [61, 200],
    [201, 320],
    [321, 440],
  ]);

  store = openAt(path, {}, clock);
  assert.deepEqual(await shown(), expected);
  await took(lane, [441, 1400]);
  for (let turn = 0; turn < 4; turn++) await clock.advance(200);
  assert.deepEqual((await shown()).slice(0, expected.length), expected);
  await store.close();
  assert.deepEqual(pieces(), [
    [1, 60],
    [61, 200],
    [201, 440],
    [441, 1400],
  ]);
});

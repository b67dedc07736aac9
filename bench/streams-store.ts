/**
 * The stream store against bare `node:sqlite` inserts of the same entries at the same durability
 * (WAL, synchronous=FULL, 100 rows a transaction), interleaved in one run. The bare table has a key
 * and no index: it knows no duplicates, no logs and no streams.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openStreamStore } from "../src/data/index.ts";
import { silentLog } from "../src/lib/log.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";
import { inFolder, interleave, type BenchOptions, type BenchResult } from "./support/bench.ts";

const rows = 50_000;
const batchRows = 100;
const producers = 20;

const body = Buffer.from(
  JSON.stringify({
    cpu: 12.5,
    memory: 123_456_789,
    disk: { read: 12, write: 55 },
    pressure: 0.25,
    host: "n1",
    note: "about as long as a reading is",
  }),
);

async function measureStore(folder: string): Promise<number> {
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: join(folder, "store.db"), node: "n1" },
  );
  await store.setStreams([{ name: "telemetry", retention: {} }]);
  const startedMs = performance.now();
  for (let first = 0; first < rows; first += batchRows) {
    const batch = Array.from({ length: batchRows }, (_, index) => ({
      stream: "telemetry",
      atMs: 1_700_000_000_000 + first + index,
      key: {
        producer: `device-${(first + index) % producers}`,
        epoch: 1,
        sequence: 1 + Math.floor((first + index) / producers),
      },
      body,
    }));
    const answer = await store.append(batch);
    if (answer.state !== "stored" || answer.stored !== batchRows)
      throw new Error(`an append was not stored: ${JSON.stringify(answer)}`);
  }
  const tookMs = performance.now() - startedMs;
  await store.close();
  return (rows / tookMs) * 1000;
}

function measureBare(folder: string): number {
  const db = new DatabaseSync(join(folder, "bare.db"));
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec("CREATE TABLE entry(id INTEGER PRIMARY KEY, stream INTEGER, at_ms INTEGER, body BLOB)");
  const insert = db.prepare("INSERT INTO entry VALUES (?, ?, ?, ?)");
  const startedMs = performance.now();
  for (let first = 0; first < rows; first += batchRows) {
    db.exec("BEGIN IMMEDIATE");
    for (let index = 0; index < batchRows; index++)
      insert.run(first + index + 1, 1, 1_700_000_000_000 + first + index, body);
    db.exec("COMMIT");
  }
  const tookMs = performance.now() - startedMs;
  db.close();
  return (rows / tookMs) * 1000;
}

export const about = "the stream store's appends against bare SQLite inserts with the same fsync";

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { store, bare } = await interleave(options, {
    bare: () => inFolder((folder) => ({ rowsPerSecond: measureBare(folder) })),
    store: () => inFolder(async (folder) => ({ rowsPerSecond: await measureStore(folder) })),
  });
  return {
    ratios: { "ceiling.throughput": store.rowsPerSecond / bare.rowsPerSecond },
    figures: {
      entriesPerSecond: store.rowsPerSecond,
      ceilingRowsPerSecond: bare.rowsPerSecond,
    },
    table: [
      { what: "bare node:sqlite (ceiling)", "rows/s": Math.round(bare.rowsPerSecond) },
      { what: "stream store", "rows/s": Math.round(store.rowsPerSecond) },
    ],
  };
}

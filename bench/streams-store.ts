/**
 * The stream store against bare `node:sqlite` inserts of the same entries at the same durability
 * (WAL, synchronous=FULL, 100 rows a transaction), interleaved in one run. The bare table has a key
 * and no index: it knows no duplicates, no logs and no streams. Ends with one line of JSON with `--json`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openStreamStore } from "../src/data/index.ts";
import { silentLog } from "../src/lib/log.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";

const rows = 50_000;
const batchRows = 100;
const producers = 20;
const rounds = 3;

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

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const store: number[] = [];
const bare: number[] = [];
for (let round = 0; round < rounds; round++) {
  const folder = mkdtempSync(join(tmpdir(), "skerry-bench-"));
  try {
    bare.push(measureBare(folder));
    store.push(await measureStore(folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
const [storeRate, bareRate] = [median(store), median(bare)];
if (!process.argv.includes("--json")) {
  console.log(`stream store       ${Math.round(storeRate)} entries/s`);
  console.log(`bare node:sqlite   ${Math.round(bareRate)} rows/s`);
}
console.log(
  JSON.stringify({
    bench: "streams-store",
    ratios: { "node-sqlite.throughput": Number((storeRate / bareRate).toFixed(2)) },
    figures: {
      storeEntriesPerSecond: Math.round(storeRate),
      bareRowsPerSecond: Math.round(bareRate),
    },
  }),
);

/**
 * The stream store, which seals what it holds into segments, against bare `node:sqlite` inserts of the same entries at the same durability
 * (WAL, synchronous=FULL, 100 rows a transaction), interleaved in one run. The bare table has a key
 * and no index: it knows no duplicates, no logs, no streams and no compression.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openStreamStore, type StreamStore } from "../src/data/index.ts";
import { silentLog } from "../src/lib/log.ts";
import { ascending, percentile } from "../src/lib/percentile.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";
import { readings } from "./support/readings.ts";
import { inFolder, interleave, type BenchOptions, type BenchResult } from "./support/bench.ts";

const rows = 50_000;
const batchRows = 100;
const producers = 20;

type Measured = {
  readonly rowsPerSecond: number;
  /** The slowest of a hundred appends, with all before it sealed or being sealed beside it. */
  readonly appendP99Ms: number;
  readonly diskBytes: number;
  readonly scannedPerSecond: number;
};

async function measureStore(folder: string, bodies: readonly Buffer[]): Promise<Measured> {
  const path = join(folder, "store.db");
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node: "n1" },
  );
  await store.setStreams([{ name: "telemetry", retention: {} }]);
  const appendsMs: number[] = [];
  const startedMs = performance.now();
  for (let first = 0; first < rows; first += batchRows) {
    const batch = bodies.slice(first, first + batchRows).map((body, index) => ({
      stream: "telemetry",
      atMs: 1_700_000_000_000 + first + index,
      key: {
        producer: `device-${(first + index) % producers}`,
        epoch: 1,
        sequence: 1 + Math.floor((first + index) / producers),
      },
      body,
    }));
    const beganMs = performance.now();
    const answer = await store.append(batch);
    appendsMs.push(performance.now() - beganMs);
    if (answer.state !== "stored" || answer.stored !== batchRows)
      throw new Error(`an append was not stored: ${JSON.stringify(answer)}`);
  }
  const tookMs = performance.now() - startedMs;
  await sealed(store);
  const scannedMs = await scan(store);
  await store.close();
  return {
    rowsPerSecond: (rows / tookMs) * 1000,
    appendP99Ms: percentile(ascending(appendsMs), 0.99) ?? Number.NaN,
    diskBytes: usedBytes(path),
    scannedPerSecond: (rows / scannedMs) * 1000,
  };
}

/** Until nothing but the open tail is left to seal. */
async function sealed(store: StreamStore): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const [status] = (await store.status()).streams;
    if (status && status.entries - status.sealed < 2000) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("sealing did not come to an end");
}

async function scan(store: StreamStore): Promise<number> {
  const startedMs = performance.now();
  let after: string | undefined;
  for (let found = 0; found < rows;) {
    const page = await store.read({ stream: "telemetry", after });
    if (page.entries.length === 0) throw new Error(`the stream ended after ${found} entries`);
    found += page.entries.length;
    after = page.cursor;
  }
  return performance.now() - startedMs;
}

/** Pages in use: what sealing left free is used again before the file grows. */
function usedBytes(path: string): number {
  const db = new DatabaseSync(path);
  const pragma = (name: string) =>
    Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  const bytes = (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  db.close();
  return bytes;
}

function measureBare(folder: string, bodies: readonly Buffer[]): Measured {
  const path = join(folder, "bare.db");
  const db = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec("CREATE TABLE entry(id INTEGER PRIMARY KEY, stream INTEGER, at_ms INTEGER, body BLOB)");
  const insert = db.prepare("INSERT INTO entry VALUES (?, ?, ?, ?)");
  const appendsMs: number[] = [];
  const startedMs = performance.now();
  for (let first = 0; first < rows; first += batchRows) {
    const beganMs = performance.now();
    db.exec("BEGIN IMMEDIATE");
    for (let index = 0; index < batchRows; index++)
      insert.run(
        first + index + 1,
        1,
        1_700_000_000_000 + first + index,
        bodies[first + index] ?? null,
      );
    db.exec("COMMIT");
    appendsMs.push(performance.now() - beganMs);
  }
  const tookMs = performance.now() - startedMs;
  const scanMs = performance.now();
  for (let after = 0; after < rows; after += 1000)
    db.prepare("SELECT * FROM entry WHERE id > ? ORDER BY id LIMIT 1000").all(after);
  const scannedMs = performance.now() - scanMs;
  db.close();
  return {
    rowsPerSecond: (rows / tookMs) * 1000,
    appendP99Ms: percentile(ascending(appendsMs), 0.99) ?? Number.NaN,
    diskBytes: usedBytes(path),
    scannedPerSecond: (rows / scannedMs) * 1000,
  };
}

export const about = "the stream store's appends against bare SQLite inserts with the same fsync";

export async function run(options: BenchOptions): Promise<BenchResult> {
  const bodies = readings({ count: rows, producers });
  const { store, bare } = await interleave(options, {
    bare: () => inFolder((folder) => measureBare(folder, bodies)),
    store: () => inFolder((folder) => measureStore(folder, bodies)),
  });
  const row = (what: string, measured: Measured) => ({
    what,
    "rows/s": Math.round(measured.rowsPerSecond),
    "append p99 ms": Number(measured.appendP99Ms.toFixed(1)),
    "B/entry on disk": Number((measured.diskBytes / rows).toFixed(1)),
    "scanned/s": Math.round(measured.scannedPerSecond),
  });
  return {
    ratios: {
      "ceiling.throughput": store.rowsPerSecond / bare.rowsPerSecond,
      "ceiling.disk": bare.diskBytes / store.diskBytes,
      "ceiling.scan": store.scannedPerSecond / bare.scannedPerSecond,
    },
    figures: {
      entriesPerSecond: store.rowsPerSecond,
      ceilingRowsPerSecond: bare.rowsPerSecond,
      appendP99Ms: store.appendP99Ms,
      entryBytes: store.diskBytes / rows,
      scannedPerSecond: store.scannedPerSecond,
    },
    table: [row("bare node:sqlite (ceiling)", bare), row("stream store", store)],
  };
}

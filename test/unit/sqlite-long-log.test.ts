/** Checkpoint starvation: readers that overlap without a gap must not make a store's log grow for ever. */
import { strict as assert } from "node:assert";
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createGroupCommit, openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

const logBytesMax = 4 * 1024 * 1024;
const rounds = 120;

/** Writes 60 MB over the same five rows, beside queries that overlap; the log's greatest size. */
async function writeBeside(path: string, { bytesMax }: { bytesMax: number }) {
  const db = openDatabase(path, { synchronous: "normal" });
  db.exec("CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB)");
  const writer = createGroupCommit(db, { path, logBytesMax: bytesMax });
  const put = db.prepare("INSERT OR REPLACE INTO item (id, body) VALUES (?, ?)");
  const shared = new SharedArrayBuffer(12);
  const cells = new Int32Array(shared);
  const url = new URL("../support/overlapping-readers.entry.ts", import.meta.url);
  const readers = new Worker(url, { workerData: { path, shared } });
  await waitFor(() => Atomics.load(cells, 1) >= 2, { what: "two readers", timeoutMs: 30_000 });
  let most = 0;
  // On a busy machine the writes may be over before the readers had many turns.
  for (let round = 0; round < rounds || Atomics.load(cells, 1) <= 5; round++) {
    await writer.write(() => put.run(round % 5, Buffer.alloc(500_000, round)));
    most = Math.max(most, statSync(`${path}-wal`).size);
  }
  Atomics.store(cells, 0, 1);
  await once(readers, "exit");
  await writer.close();
  return { most, snapshots: cells[1] ?? 0, gaps: cells[2] ?? 0 };
}

test("a store's log stays within a few times its bound while there is always somebody who reads", async () => {
  using folder = temporaryFolder();
  const unbounded = await writeBeside(join(folder.path, "grows.db"), { bytesMax: Infinity });
  // In a moment without a reader, which a machine that stands still may bring, the log begins anew.
  const starved = 40_000_000 / (1 + unbounded.gaps);
  assert.ok(unbounded.most > starved, `no starvation to bound: ${JSON.stringify(unbounded)}`);
  const bounded = await writeBeside(join(folder.path, "kept.db"), { bytesMax: logBytesMax });
  assert.ok(bounded.most < 6 * logBytesMax, JSON.stringify(bounded));
  assert.ok(bounded.snapshots > 5, JSON.stringify(bounded));
});

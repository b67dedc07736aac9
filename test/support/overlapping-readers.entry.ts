/** Two queries over one file, by turns, so that there is never a moment without a reader. In a worker. */
import { workerData } from "node:worker_threads";
import { createConnections } from "../../src/data/queries/connections.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";

/** Shared: whether to stop, snapshots that were taken, moments without one. */
const { path, shared } = workerData as { path: string; shared: SharedArrayBuffer };
const cells = new Int32Array(shared);
const isStopped = () => Atomics.load(cells, 0) === 1;
const connections = createConnections(
  { clock: systemClock },
  { path, reading: (db) => db.prepare("SELECT count(*) AS n FROM item") },
);

let reading = 0;
const reader = async (lastsMs: number) => {
  while (!isStopped()) {
    await connections.use(function* (count) {
      count.get();
      reading++;
      Atomics.add(cells, 1, 1);
      for (const endMs = performance.now() + lastsMs; performance.now() < endMs;) yield;
      if (--reading === 0 && !isStopped()) Atomics.add(cells, 2, 1);
    });
  }
};
await Promise.all([reader(23), reader(31)]);
connections.close();

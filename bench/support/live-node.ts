/**
 * A node's way of documents and live queries, with its real threads, loaded by writes at a fixed rate.
 * The thread that measures is the one that would be an agent's main thread.
 */
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { StorageData, StorageThread } from "../../src/agent/storage.ts";
import {
  connectDocumentStore,
  createLiveQueries,
  createQueries,
  createQueryRoutes,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { ascending, percentile } from "../../src/lib/percentile.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import type { ReadersMethods } from "./live-readers.entry.ts";

export type LiveMeasure = {
  /** From the acknowledgement of a durable write to the difference at its reader. */
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  readonly differencesPerSecond: number;
  readonly writesPerSecond: number;
  /** Of this thread, while writes come. */
  readonly loopDelayP50Ms: number;
  readonly loopDelayP99Ms: number;
  readonly writeP99Ms: number;
};

const collection = "sensors";
const documents = 5000;

/** `queries`: over documents `{ n, sensor }`; sensors are `s0` to `s299`. */
export async function measureLive(
  folder: string,
  load: { queries: readonly object[]; writesPerSecond: number; forMs: number },
): Promise<LiveMeasure> {
  const storage: StorageThread = await startThread(
    new URL("../../src/agent/storage.entry.ts", import.meta.url),
    {
      name: "storage",
      data: {
        dataDir: folder,
        node: "n1",
        holdsLedger: false,
        logLevel: "warn",
        logPath: join(folder, "agent.log"),
      } satisfies StorageData,
    },
  );
  const store = connectDocumentStore(storage, { node: "n1" });
  const queries = createQueries(
    { clock: systemClock },
    {
      documentsPath: join(folder, "documents.db"),
      streamsPath: join(folder, "streams.db"),
    },
  );
  const live = createLiveQueries({
    thread: queries.live,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    metrics: createMetrics(),
  });
  store.on("grown", ({ collections }) => live.grown(collections));
  const app = createHttpApp();
  const declared = { isCollection: () => true, isStream: () => true };
  createQueryRoutes({ queries, live, declared })(app);
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  try {
    await store.declare([
      { name: collection, schemaVersion: 1, onMismatch: "refuse", fields: [], indexes: ["/n"] },
    ]);
    const write = (n: number) =>
      store.write([
        {
          collection,
          id: `d${n % documents}`,
          do: "put",
          body: { n, sensor: `s${n % 300}`, text: `reading ${n} of this sensor, in the field` },
        },
      ]);
    for (let n = 0; n < documents; n += 500)
      await Promise.all(Array.from({ length: 500 }, (_, at) => write(n + at)));
    const readers = await startReaders(`${url}/v1/documents/${collection}/query`, load.queries);
    const measured = await underLoad(write, load);
    const seen = await readers.seen();
    await readers.stop();
    const { acknowledged, tookMs, ...own } = measured;
    const latencies = seen.arrived.flatMap(([n, atMs]) => {
      const at = acknowledged.get(n);
      // A reader may hear of a commit before its writer does.
      return at === undefined ? [] : [Math.max(0, atMs - at)];
    });
    const sorted = ascending(latencies);
    return {
      ...own,
      latencyP50Ms: percentile(sorted, 0.5) ?? Number.NaN,
      latencyP99Ms: percentile(sorted, 0.99) ?? Number.NaN,
      differencesPerSecond: (seen.differences / tookMs) * 1000,
      writesPerSecond: (acknowledged.size / tookMs) * 1000,
    };
  } finally {
    live.stop();
    await app.close();
    await queries.stop();
    await store.close();
    await storage.terminate();
  }
}

async function startReaders(url: string, queries: readonly object[]) {
  const thread = await startThread<ReadersMethods>(
    new URL("./live-readers.entry.ts", import.meta.url),
    { name: "readers" },
  );
  await thread.call("read", { url, queries });
  return {
    seen: () => thread.call("seen", undefined as never),
    stop: () => thread.terminate(),
  };
}

/** An open loop, a few milliseconds' writes at a time. */
async function underLoad(
  write: (n: number) => Promise<{ state: string }>,
  { writesPerSecond, forMs }: { writesPerSecond: number; forMs: number },
) {
  const acknowledged = new Map<number, number>();
  const writesMs: number[] = [];
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const pending: Promise<void>[] = [];
  const startedMs = performance.now();
  delay.enable();
  for (let sent = 0; ;) {
    const passedMs = performance.now() - startedMs;
    if (passedMs >= forMs) break;
    for (const due = (passedMs / 1000) * writesPerSecond; sent < due; sent++) {
      const n = documents + sent;
      const beganMs = performance.now();
      pending.push(
        write(n).then(({ state }) => {
          if (state !== "stored") throw new Error(`a write was ${state}`);
          writesMs.push(performance.now() - beganMs);
          acknowledged.set(n, performance.timeOrigin + performance.now());
        }),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  delay.disable();
  await Promise.all(pending);
  const tookMs = performance.now() - startedMs;
  // What is under way arrives, or counts as not seen.
  await new Promise((resolve) => setTimeout(resolve, 500));
  return {
    acknowledged,
    tookMs,
    // Whole intervals are measured, of a millisecond each.
    loopDelayP50Ms: delay.percentile(50) / 1e6 - 1,
    loopDelayP99Ms: delay.percentile(99) / 1e6 - 1,
    writeP99Ms: percentile(ascending(writesMs), 0.99) ?? Number.NaN,
  };
}

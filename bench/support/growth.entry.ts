/**
 * A process that holds one store and nothing else, so that what it weighs is the store's:
 * `growth.entry.ts fill|look documents|entries PATH FROM TO`. Prints its figures as JSON.
 */
import { statSync } from "node:fs";
import { memoryUsage } from "node:process";
import { openDocumentStore, openStreamStore } from "../../src/data/index.ts";
import { checkEntriesQuery, checkQuery } from "../../src/data/queries/check.ts";
import { createQueryEngine } from "../../src/data/queries/engine.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { databaseFiles } from "../../src/runtime/sqlite/index.ts";
import { latencyMs } from "./bench.ts";
import { readings } from "./readings.ts";

const [act, kind, path = "", from = "0", to = "0"] = process.argv.slice(2);
const [first, end] = [Number(from), Number(to)];
const deps = { clock: systemClock, random: systemRandom, log: silentLog };
const MB = 1e6;
const perWrite = 1000;
const looks = 200;
const writes = 100;
const recent = 1000;
/** One entry a millisecond. */
const beganMs = 1_700_000_000_000;

const residentMb = () => memoryUsage.rss() / MB;
const diskBytes = () =>
  databaseFiles(path).reduce(
    (sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
const random = seededRandom(end + 1);
const anyOne = () => random.integer(end);

async function openDocuments() {
  const store = openDocumentStore(deps, { path, node: "n1" });
  await store.declare([
    {
      ...{ name: "orders", schemaVersion: 1, onMismatch: "refuse" as const, fields: [] },
      indexes: ["/customer", "/total"],
    },
  ]);
  return store;
}

const order = (n: number) => ({
  customer: `c${(n * 7919) % 200_000}`,
  total: ((n * 104_729) % 10_000_019) / 100,
  status: ["open", "paid", "sent", "returned"][n % 4] ?? "",
  note: `order ${n} ${Buffer.from(seededRandom(n).bytes(24)).toString("base64")}`,
});
const idOf = (n: number) => `o${String(n).padStart(9, "0")}`;
const put = (n: number) =>
  ({ collection: "orders", id: idOf(n), do: "put", body: order(n) }) as const;

async function fillDocuments() {
  const store = await openDocuments();
  const startedMs = performance.now();
  for (let at = first; at < end; at += perWrite) {
    const count = Math.min(perWrite, end - at);
    const answer = await store.write(Array.from({ length: count }, (_, n) => put(at + n)));
    if (answer.state !== "stored") throw new Error(`documents were ${answer.state}`);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  await store.close();
  return { perSecond: (end - first) / seconds };
}

async function lookAtDocuments() {
  const emptyMb = residentMb();
  const startedMs = performance.now();
  const store = await openDocuments();
  const one = await store.read({ collection: "orders", id: idOf(anyOne()) });
  if (!one) throw new Error("a document is missing");
  const startMs = performance.now() - startedMs;
  const openMb = residentMb() - emptyMb;
  const engine = createQueryEngine(deps, { documentsPath: path, streamsPath: "none" });
  const ask = (request: object) =>
    engine.documents({
      ...{ collection: "orders", isDeclared: true },
      query: checkQuery({ timeoutMs: 30_000, ...request }),
    });
  const readP50Ms = await latencyMs(looks, () =>
    store.read({ collection: "orders", id: idOf(anyOne()) }),
  );
  const pageP50Ms = await latencyMs(looks, () =>
    store.list({ collection: "orders", after: idOf(anyOne()) }),
  );
  const equalP50Ms = await latencyMs(looks, () =>
    ask({ where: `customer = "${order(anyOne()).customer}"`, limit: 5 }),
  );
  const topP50Ms = await latencyMs(looks, () => ask({ sort: ["-total"], limit: 20 }));
  const writeP50Ms = await latencyMs(writes, (n) =>
    store.write([
      { ...put(anyOne()), body: { ...order(n), note: `changed ${systemClock.wallMs()}` } },
    ]),
  );
  const vector = await store.vector();
  const [[origin, top] = ["", 0]] = Object.entries(vector);
  const syncP50Ms = await latencyMs(looks, () => store.log({ origin, from: top - writes + 1 }));
  const figures = {
    ...{ startMs, openMb, readP50Ms, pageP50Ms, equalP50Ms, topP50Ms, writeP50Ms, syncP50Ms },
    residentMb: residentMb() - emptyMb,
    bytesEach: diskBytes() / end,
  };
  engine.close();
  await store.close();
  return figures;
}

async function openEntries() {
  const store = openStreamStore(deps, { path, node: "n1" });
  await store.setStreams([{ name: "telemetry", retention: { bytesMax: 1e13 } }]);
  return store;
}

const bodies = readings({ count: 100_000, producers: 20 });
const entry = (n: number) => ({
  ...{ stream: "telemetry", atMs: beganMs + n },
  key: { producer: `press-${n % 20}`, epoch: 1, sequence: 1 + Math.floor(n / 20) },
  body: bodies[n % bodies.length] as Buffer,
});

async function fillEntries() {
  const store = await openEntries();
  const startedMs = performance.now();
  for (let at = first; at < end; at += perWrite) {
    const count = Math.min(perWrite, end - at);
    const answer = await store.append(Array.from({ length: count }, (_, n) => entry(at + n)));
    if (answer.state !== "stored") throw new Error(`entries were ${answer.state}`);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  // Until nothing but the open tail is left to seal.
  for (;;) {
    const [status] = (await store.status()).streams;
    if (status && status.entries - status.sealed < 2 * perWrite) break;
    await systemClock.sleep(50);
  }
  await store.close();
  return { perSecond: (end - first) / seconds };
}

async function lookAtEntries() {
  const emptyMb = residentMb();
  const startedMs = performance.now();
  const store = await openEntries();
  if ((await store.read({ stream: "telemetry", newest: 1 })).entries.length !== 1)
    throw new Error("the newest entry is missing");
  const startMs = performance.now() - startedMs;
  const openMb = residentMb() - emptyMb;
  const engine = createQueryEngine(deps, { documentsPath: "none", streamsPath: path });
  const newestP50Ms = await latencyMs(looks, () =>
    store.read({ stream: "telemetry", newest: 100 }),
  );
  const pageP50Ms = await latencyMs(looks, () => {
    const fromMs = beganMs + anyOne();
    return store.read({ stream: "telemetry", fromMs, toMs: fromMs + 100 });
  });
  const windowP50Ms = await latencyMs(writes, () => {
    const at = beganMs + random.integer(end - 10_000);
    const query = checkEntriesQuery({
      ...{ timeoutMs: 30_000, from: at, to: at + 10_000, window: "1s" },
      aggregate: ["avg(celsius)", "max(cpu)"],
    });
    return engine.entries({ stream: "telemetry", isDeclared: true, query });
  });
  // Behind what an earlier look appended: the same again would be duplicates.
  const tops = Object.values(await store.vector());
  const stored = tops.reduce((sum, top) => sum + top, 0);
  const appendP50Ms = await latencyMs(writes, (n) =>
    store.append(Array.from({ length: 100 }, (_, index) => entry(stored + n * 100 + index))),
  );
  const [origin, top] = Object.entries(await store.vector()).at(-1) ?? ["", 0];
  const syncP50Ms = await latencyMs(looks, () => store.log({ origin, from: top - recent + 1 }));
  const figures = {
    ...{ startMs, openMb, newestP50Ms, pageP50Ms, windowP50Ms, appendP50Ms, syncP50Ms },
    residentMb: residentMb() - emptyMb,
    bytesEach: diskBytes() / (end + writes * 100),
  };
  engine.close();
  await store.close();
  return figures;
}

const acts: Readonly<Record<string, () => Promise<Record<string, number>>>> = {
  "fill documents": fillDocuments,
  "look documents": lookAtDocuments,
  "fill entries": fillEntries,
  "look entries": lookAtEntries,
};
const run = acts[`${act} ${kind}`];
if (!run) throw new Error(`growth.entry: no "${act} ${kind}"`);
console.log(JSON.stringify(await run()));

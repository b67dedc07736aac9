/**
 * Queries over 100,000 documents, with and without an index, against bare `node:sqlite` on the same
 * bodies, by expression indexes and JSON functions, in one run; and live queries: how long a durable
 * write takes to its readers, and what the main thread notices, by how many live queries there are.
 * The bare queries know one order of values less: they compare as SQLite does, and answer rows as text.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { checkQuery } from "../src/data/queries/check.ts";
import { createQueryEngine, type QueryEngine } from "../src/data/queries/engine.ts";
import { openDocumentStore } from "../src/data/index.ts";
import { silentLog } from "../src/lib/log.ts";
import { seededRandom } from "../src/lib/random.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  rounded,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { measureLive } from "./support/live-node.ts";

const documents = 100_000;
const writesPerSecond = 2000;

type Body = { customer: string; total: number; status: string; weight: number; note: string };

function bodies(): Body[] {
  const random = seededRandom(1);
  return Array.from({ length: documents }, (_, n) => ({
    customer: `c${random.integer(2000)}`,
    total: random.integer(1_000_000) / 100,
    status: ["open", "paid", "sent", "returned"][random.integer(4)] ?? "",
    weight: random.integer(1000),
    note: `order ${n} ${Buffer.from(random.bytes(24)).toString("base64")}`,
  }));
}

/** The same question to both; `total` and `customer` have an index, `weight` and `status` have none. */
const questions = {
  equal: {
    request: (n: number) => ({ where: `customer = "c${n % 2000}"` }),
    sql: "SELECT id, body FROM doc WHERE body ->> '$.customer' = ? ORDER BY id LIMIT 100",
    values: (n: number) => [`c${n % 2000}`],
    times: 200,
  },
  top: {
    request: () => ({ sort: ["-total"], limit: 20 }),
    sql: "SELECT id, body FROM doc ORDER BY body ->> '$.total' DESC, id DESC LIMIT 20",
    values: () => [],
    times: 200,
  },
  scan: {
    request: (n: number) => ({ where: `weight = ${n % 1000}`, sort: ["status"] }),
    sql: "SELECT id, body FROM doc WHERE body ->> '$.weight' = ? ORDER BY body ->> '$.status', id LIMIT 100",
    values: (n: number) => [n % 1000],
    times: 3,
  },
  groups: {
    request: () => ({ by: ["status"], aggregate: ["count", "sum(total)"] }),
    sql: "SELECT body ->> '$.status', count(*), sum(body ->> '$.total') FROM doc GROUP BY 1",
    values: () => [],
    times: 3,
  },
} as const;
type Question = keyof typeof questions;
const names = Object.keys(questions) as Question[];

async function openBoth(folder: string, all: readonly Body[]) {
  const path = join(folder, "documents.db");
  const store = openDocumentStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node: "n1" },
  );
  await store.declare([
    {
      name: "orders",
      schemaVersion: 1,
      onMismatch: "refuse",
      fields: [],
      indexes: ["/customer", "/total"],
    },
  ]);
  for (let at = 0; at < documents; at += 1000) {
    const writes = all
      .slice(at, at + 1000)
      .map((body, n) => ({ collection: "orders", id: `o${at + n}`, do: "put", body }) as const);
    const answer = await store.write(writes);
    if (answer.state !== "stored") throw new Error(`documents were ${answer.state}`);
  }
  const bare = new DatabaseSync(join(folder, "bare.db"));
  bare.exec(`PRAGMA journal_mode = WAL; CREATE TABLE doc(id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID;
    CREATE INDEX customer ON doc(body ->> '$.customer', id);
    CREATE INDEX total ON doc(body ->> '$.total', id); BEGIN`);
  const insert = bare.prepare("INSERT INTO doc VALUES (?, ?)");
  for (const [at, body] of all.entries()) insert.run(`o${at}`, JSON.stringify(body));
  bare.exec("COMMIT");
  const engine = createQueryEngine(
    { clock: systemClock },
    { documentsPath: path, streamsPath: "none" },
  );
  const close = async () => {
    engine.close();
    bare.close();
    await store.close();
  };
  return { engine, bare, close };
}

/** Milliseconds a query, the rows as text. */
async function measureOurs(engine: QueryEngine): Promise<Record<Question, number>> {
  return ofEach(async (name) => {
    const { request, times } = questions[name];
    return latencyMs(times, async (n) => {
      const query = checkQuery({ timeoutMs: 30_000, ...request(n) });
      await engine.documents({ collection: "orders", isDeclared: true, query });
    });
  });
}

async function measureBare(db: DatabaseSync): Promise<Record<Question, number>> {
  return ofEach(async (name) => {
    const { sql, values, times } = questions[name];
    const statement = db.prepare(sql);
    return latencyMs(times, (n) => statement.all(...values(n)));
  });
}

async function ofEach(
  measure: (name: Question) => Promise<number>,
): Promise<Record<Question, number>> {
  const measured: [Question, number][] = [];
  for (const name of names) measured.push([name, await measure(name)]);
  return Object.fromEntries(measured) as Record<Question, number>;
}

const ofSensor = (n: number) => ({ where: `sensor = "s${n}"`, sort: ["-n"], limit: 20 });
const newest = () => ({ sort: ["-n"], limit: 20 });
const several = (count: number, query: (n: number) => object) =>
  Array.from({ length: count }, (_, n) => query(n));

export const about = "queries over documents against bare SQLite, and live queries by their number";

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { ours, bare } = await inFolder(async (folder) => {
    const both = await openBoth(folder, bodies());
    try {
      return await interleave(options, {
        bare: () => measureBare(both.bare),
        ours: () => measureOurs(both.engine),
      });
    } finally {
      await both.close();
    }
  });
  const live = (queries: readonly object[]) => () =>
    inFolder((folder) =>
      measureLive(folder, { queries, writesPerSecond, forMs: options.forMs ?? 4000 }),
    );
  const lives = await interleave(options, {
    none: live([]),
    ten: live(several(10, ofSensor)),
    hundred: live(several(100, ofSensor)),
    threeHundred: live(several(300, ofSensor)),
    // Each write moves every row of every one of them.
    hundredOfAll: live(several(100, newest)),
  });
  const asked = {
    equal: "equal, indexed, 50 rows",
    top: "top 20 along an index",
    scan: "equal and sorted, no index",
    groups: "count and sum by 4 groups",
  };
  const shown = {
    none: "no live query",
    ten: "10, each of a sensor",
    hundred: "100, each of a sensor",
    threeHundred: "300, each of a sensor",
    hundredOfAll: "100, each of the newest of all",
  };
  return {
    ratios: {
      ...Object.fromEntries(names.map((name) => [`sqlite.${name}`, bare[name] / ours[name]])),
      "none.loopDelay": lives.none.loopDelayP99Ms / lives.threeHundred.loopDelayP99Ms,
      "none.writeP99": lives.none.writeP99Ms / lives.threeHundred.writeP99Ms,
    },
    figures: {
      ...Object.fromEntries(names.map((name) => [`${name}Ms`, ours[name]])),
      live300LatencyP50Ms: lives.threeHundred.latencyP50Ms,
      live300LatencyP99Ms: lives.threeHundred.latencyP99Ms,
      live300LoopDelayP99Ms: lives.threeHundred.loopDelayP99Ms,
      live100OfAllDifferencesPerSecond: lives.hundredOfAll.differencesPerSecond,
      live100OfAllLatencyP99Ms: lives.hundredOfAll.latencyP99Ms,
    },
    table: [
      ...names.map((name) => ({
        what: asked[name],
        "skerry ms": rounded(ours[name]),
        "bare sqlite ms": rounded(bare[name]),
      })),
      ...(Object.keys(shown) as (keyof typeof shown)[]).map((name) => ({
        what: shown[name],
        "writes/s": Math.round(lives[name].writesPerSecond),
        "differences/s": Math.round(lives[name].differencesPerSecond),
        "to reader p50 ms": rounded(lives[name].latencyP50Ms),
        "p99 ms": rounded(lives[name].latencyP99Ms),
        "loop p50 ms": rounded(lives[name].loopDelayP50Ms),
        "loop p99 ms": rounded(lives[name].loopDelayP99Ms),
        "write p99 ms": rounded(lives[name].writeP99Ms),
      })),
    ],
  };
}

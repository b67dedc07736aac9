/**
 * The ledger of a single server against bare `node:sqlite` at the same durability (WAL,
 * synchronous=FULL): a table of keys and values without revisions, history, conditions or watches.
 * Its batches hold as many rows as our callers can have in one commit. `thread` is the ledger as a
 * node runs it, behind the border of the storage thread.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { connectLedger, openSqliteLedger, type Ledger } from "../../src/ledger/index.ts";
import type { LedgerMethods, LedgerThreadEvents } from "../../src/ledger/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  throughput,
  type BenchOptions,
  type BenchResult,
} from "./bench.ts";

const callers = 64;
const keys = 10_000;
const puts = 20_000;
const gets = 20_000;
const lists = 50;
const singles = 300;
const value = new Uint8Array(300).fill(120);
const key = (i: number) => `registry/pods/default/pod-${String(i % keys).padStart(6, "0")}`;
const page = 1000;

type Measure = {
  putsPerSecond: number;
  putP50Ms: number;
  getsPerSecond: number;
  listP50Ms: number;
};

async function measureLedger(ledger: Ledger): Promise<Measure> {
  const put = async (i: number) => {
    const outcome = await ledger.transact([], [{ type: "put", key: key(i), value }]);
    if (outcome.state !== "done") throw new Error(`a put was ${outcome.state}`);
  };
  // Every key is written twice, so that there is history for a list to stumble over.
  const putsPerSecond = await throughput({ count: puts, callers }, put);
  const putP50Ms = await latencyMs(singles, put);
  const getsPerSecond = await throughput({ count: gets, callers }, async (i) => {
    if (!(await ledger.get(key(i))).keyValue) throw new Error("a key is missing");
  });
  const listP50Ms = await latencyMs(lists, async () => {
    const { items } = await ledger.list("registry/pods/", { limit: page });
    if (items.length !== page) throw new Error(`a page held ${items.length}`);
  });
  return { putsPerSecond, putP50Ms, getsPerSecond, listP50Ms };
}

const deps = { clock: systemClock, random: systemRandom, log: silentLog };

const measureHere = () =>
  inFolder(async (folder) => {
    const ledger = openSqliteLedger({ ...deps, path: join(folder, "ledger.db") });
    try {
      return await measureLedger(ledger);
    } finally {
      await ledger.close();
    }
  });

/** The ledger as a node runs it: behind the border of a thread of its own. */
export async function openInThread(folder: string): Promise<Ledger & AsyncDisposable> {
  const url = new URL("./ledger.entry.ts", import.meta.url);
  const thread = await startThread<LedgerMethods, LedgerThreadEvents>(url, {
    name: "ledger",
    data: { path: join(folder, "ledger.db") },
  });
  const ledger = await connectLedger(thread, deps);
  return Object.assign(ledger, {
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await thread.terminate();
    },
  });
}

const measureThread = () =>
  inFolder(async (folder) => {
    await using ledger = await openInThread(folder);
    return await measureLedger(ledger);
  });

const measureBare = () =>
  inFolder(async (folder): Promise<Measure> => {
    const db = new DatabaseSync(join(folder, "bare.db"));
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec("CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID");
    const write = db.prepare("INSERT OR REPLACE INTO pairs VALUES (?, ?)");
    const read = db.prepare("SELECT value FROM pairs WHERE key = ?");
    const range = db.prepare("SELECT key, value FROM pairs WHERE key >= ? ORDER BY key LIMIT ?");
    try {
      const startedMs = performance.now();
      for (let first = 0; first < puts; first += callers) {
        db.exec("BEGIN IMMEDIATE");
        for (let i = first; i < Math.min(puts, first + callers); i++) write.run(key(i), value);
        db.exec("COMMIT");
      }
      const putsPerSecond = (puts / (performance.now() - startedMs)) * 1000;
      const putP50Ms = await latencyMs(singles, (i) => write.run(key(i), value));
      const getsPerSecond = await throughput({ count: gets, callers }, (i) => read.get(key(i)));
      const listP50Ms = await latencyMs(lists, () => range.all("registry/pods/", page));
      return { putsPerSecond, putP50Ms, getsPerSecond, listP50Ms };
    } finally {
      db.close();
    }
  });

export async function measureSqlite(options: BenchOptions): Promise<BenchResult> {
  const { bare, here, thread } = await interleave(options, {
    bare: measureBare,
    here: measureHere,
    thread: measureThread,
  });
  const row = (what: string, { putsPerSecond, putP50Ms, getsPerSecond, listP50Ms }: Measure) => ({
    what,
    [`puts/s (${callers} callers)`]: Math.round(putsPerSecond),
    "put p50 ms (1 caller)": Number(putP50Ms.toFixed(3)),
    "gets/s": Math.round(getsPerSecond),
    [`list ${page} of ${keys} p50 ms`]: Number(listP50Ms.toFixed(2)),
  });
  return {
    ratios: {
      "ceiling.throughput": here.putsPerSecond / bare.putsPerSecond,
      "ceiling.p50": bare.putP50Ms / here.putP50Ms,
      "ceiling.gets": here.getsPerSecond / bare.getsPerSecond,
      "ceiling.list": bare.listP50Ms / here.listP50Ms,
      "ceiling.threadThroughput": thread.putsPerSecond / bare.putsPerSecond,
      "ceiling.threadP50": bare.putP50Ms / thread.putP50Ms,
    },
    figures: {
      ceilingPutsPerSecond: bare.putsPerSecond,
      ceilingPutP50Ms: bare.putP50Ms,
      putsPerSecond: here.putsPerSecond,
      putP50Ms: here.putP50Ms,
      getsPerSecond: here.getsPerSecond,
      list1000P50Ms: here.listP50Ms,
      threadPutsPerSecond: thread.putsPerSecond,
      threadPutP50Ms: thread.putP50Ms,
      threadGetsPerSecond: thread.getsPerSecond,
    },
    table: [
      row("bare node:sqlite (ceiling)", bare),
      row("ledger", here),
      row("ledger in its thread", thread),
    ],
  };
}

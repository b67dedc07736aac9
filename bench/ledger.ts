/**
 * The ledger against its peers, each in the same run. On three etcd members with mutual TLS: Skerry's
 * ledger beside a bare client of the same gRPC library, and the SQLite ledger of a single server in its
 * thread beside both. Each measure takes its own short turns, so that what the machine does meanwhile
 * befalls all alike. Then the SQLite ledger against bare `node:sqlite` at the same durability.
 */
import { join } from "node:path";
import { defaultTimers } from "../src/ledger/etcd/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  median,
  throughput,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { measureSqlite, openInThread } from "./support/ledger-sqlite.ts";
import { connectBare, storeOf, type Store } from "./support/ledger-stores.ts";
import { startMembers } from "./support/members.ts";

export const about =
  "the ledger's put, get and list against bare SQLite and against a bare client of etcd";

const callers = 64;
const keys = 10_000;
/** In each turn. */
const singles = 150;
const many = 2_000;
const lists = 20;
const page = 1_000;
const deliveries = 150;
/**
 * What a watcher has to catch up on. etcd hands out at most 1000 revisions to each every 100 ms: at a
 * multiple of that a client that asks for one revision more, as the ledger must (E5), would be measured by
 * that pause and by nothing else.
 */
const missed = 2_500;
/** One turn favours whoever finds the machine idle. */
const turnsPerRound = 3;
const value = new Uint8Array(300).fill(120);
const hosts = ["127.0.56.1", "127.0.56.2", "127.0.56.3"];

type Name = "bare" | "etcd" | "sqlite";
type Stores = Readonly<Record<Name, Store>>;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const etcd = await inFolder((folder) => measureEtcd(folder, options));
  const sqlite = await measureSqlite(options);
  return {
    ratios: { ...etcd.ratios, ...sqlite.ratios },
    figures: { ...etcd.figures, ...sqlite.figures },
    table: [...etcd.table, ...sqlite.table],
  };
}

async function measureEtcd(folder: string, options: BenchOptions): Promise<BenchResult> {
  const { signal } = options;
  options.progress("three etcd members");
  await using members = await startMembers({
    folder: join(folder, "etcd"),
    hosts,
    port: 7446,
    timers: defaultTimers,
    signal,
  });
  const { leader } = await members.whole(signal);
  // Both ask the same member: who forwards to a leader pays for one more hop.
  const first = [
    leader.name,
    ...members.all.map(({ name }) => name).filter((n) => n !== leader.name),
  ];
  await using stack = new AsyncDisposableStack();
  const keep = (store: Store) => stack.adopt(store, () => store.close());
  const stores: Stores = {
    bare: keep(connectBare(members.connectOptions(first))),
    etcd: keep(storeOf(await members.openLedger(first))),
    sqlite: storeOf(stack.use(await openInThread(folder))),
  };
  for (const name of names) await fill(name, stores[name]);

  const turns = (measure: (name: Name) => Promise<number>) =>
    interleave(
      { ...options, rounds: options.rounds * turnsPerRound, progress: () => {} },
      {
        bare: async () => ({ value: await measure("bare") }),
        etcd: async () => ({ value: await measure("etcd") }),
        sqlite: async () => ({ value: await measure("sqlite") }),
      },
    );
  const of = async (what: string, measure: (name: Name) => Promise<number>) => {
    const { bare, etcd, sqlite } = await turns(measure);
    const told = { bare: bare.value, etcd: etcd.value, sqlite: sqlite.value };
    options.progress(`${what}: ${JSON.stringify(told)}`);
    return told;
  };

  const putP50 = await of("put p50 ms", (name) =>
    latencyMs(singles, (i) => stores[name].put(keyOf(name, i), value)),
  );
  const puts = await of("puts/s", (name) =>
    throughput({ count: many, callers }, (i) => stores[name].put(keyOf(name, i), value)),
  );
  const txnP50 = await of("transaction p50 ms", (name) =>
    latencyMs(singles, replacing(name, stores[name])),
  );
  const txns = await of("transactions/s", (name) => replaceMany(name, stores[name]));
  const watchP50 = await of("watch p50 ms", (name) => deliver(name, stores));
  const drain = await of("watched events/s", (name) => drained(name, stores[name]));
  const listP50 = await of("list p50 ms", (name) =>
    latencyMs(lists, async () => {
      const count = await stores[name].list(prefixOf(name), page);
      if (count !== page) throw new Error(`a page held ${count}`);
    }),
  );

  const rate = (by: Readonly<Record<Name, number>>) => by.etcd / by.bare;
  const time = (by: Readonly<Record<Name, number>>) => by.bare / by.etcd;
  const more = (by: Readonly<Record<Name, number>>) => by.etcd - by.bare;
  const row = (what: string, name: Name) => ({
    what,
    [`puts/s (${callers} callers)`]: Math.round(puts[name]),
    "put p50 ms (1 caller)": Number(putP50[name].toFixed(3)),
    [`transactions/s (${callers})`]: Math.round(txns[name]),
    "transaction p50 ms": Number(txnP50[name].toFixed(3)),
    "put to watcher p50 ms": Number(watchP50[name].toFixed(3)),
    "events/s of history": Math.round(drain[name]),
    [`list ${page} of ${keys} p50 ms`]: Number(listP50[name].toFixed(2)),
  });
  return {
    ratios: {
      "etcd.throughput": rate(puts),
      "etcd.transactions": rate(txns),
      "etcd.events": rate(drain),
      "etcd.p50": time(putP50),
      "etcd.transactionP50": time(txnP50),
      "etcd.watchP50": time(watchP50),
      "etcd.list": time(listP50),
    },
    figures: {
      etcdPutMoreMs: more(putP50),
      etcdTransactionMoreMs: more(txnP50),
      etcdWatchMoreMs: more(watchP50),
      etcdList1000MoreMs: more(listP50),
      etcdPutsPerSecond: puts.etcd,
      etcdPutP50Ms: putP50.etcd,
      etcdWatchP50Ms: watchP50.etcd,
      bareEtcdPutsPerSecond: puts.bare,
      bareEtcdPutP50Ms: putP50.bare,
      sqlitePutsPerSecond: puts.sqlite,
      sqlitePutP50Ms: putP50.sqlite,
      sqliteWatchP50Ms: watchP50.sqlite,
    },
    table: [
      row(`bare client of etcd ${members.version}`, "bare"),
      row("ledger on etcd, three members", "etcd"),
      row("ledger on SQLite, in its thread", "sqlite"),
    ],
  };
}

const names: readonly Name[] = ["bare", "etcd", "sqlite"];
/** Each its own: the bare client's keys have no place in the ledger's history. */
const prefixOf = (name: Name) => `${name}/pods/`;
const keyOf = (name: Name, i: number) => `${prefixOf(name)}${String(i % keys).padStart(6, "0")}`;

const fill = (name: Name, store: Store) =>
  throughput({ count: keys, callers }, (i) => store.put(keyOf(name, i), value));

/** One key, each time from where the last one left it. */
function replacing(name: Name, store: Store): () => Promise<void> {
  const key = `${name}/replaced`;
  let at: number | undefined;
  return async () => {
    at ??= await store.put(key, value);
    at = await store.replace(key, at, value);
  };
}

/** From as many callers, each with a key of its own, for nobody shall be refused; a second. */
async function replaceMany(name: Name, store: Store): Promise<number> {
  const keyOfCaller = (caller: number) => `${name}/replaced-${caller}`;
  const at = await Promise.all(
    Array.from({ length: callers }, (_, caller) => store.put(keyOfCaller(caller), value)),
  );
  const idle = at.map((_, caller) => caller);
  return await throughput({ count: many, callers }, async () => {
    const caller = idle.pop() ?? 0;
    at[caller] = await store.replace(keyOfCaller(caller), at[caller] ?? 0, value);
    idle.push(caller);
  });
}

/** From the start of a put until its watcher has it; on etcd the bare client puts, whoever watches. */
async function deliver(name: Name, stores: Stores): Promise<number> {
  const writer = name === "etcd" ? stores.bare : stores[name];
  const prefix = `${name}/watched/`;
  const own = `${prefix}key`;
  const after = await stores[name].put(own, value);
  const end = new AbortController();
  let seen = 0;
  let onSeen = (): void => {};
  const following = stores[name].follow(prefix, {
    after,
    signal: end.signal,
    onValue() {
      seen++;
      onSeen();
    },
  });
  following.catch(() => {});
  const tookMs: number[] = [];
  try {
    for (let i = 1; i <= deliveries; i++) {
      const startedMs = performance.now();
      const delivered = new Promise<void>((resolve) => {
        onSeen = () => void (seen >= i && resolve());
      });
      await Promise.all([
        writer.put(own, value),
        // A watch that ends early would be waited for without end.
        Promise.race([delivered, following.then(() => Promise.reject(new Error("ended")))]),
      ]);
      // The first one opened the watch.
      if (i > 1) tookMs.push(performance.now() - startedMs);
    }
  } finally {
    end.abort();
    await following;
  }
  return median(tookMs);
}

/** A watcher that has the history of that many puts to catch up on; events a second. */
async function drained(name: Name, store: Store): Promise<number> {
  const prefix = `${name}/history/`;
  const after = await store.put(`${prefix}begin`, value);
  await throughput({ count: missed, callers }, (i) => store.put(`${prefix}${i % 100}`, value));
  const end = new AbortController();
  let seen = 0;
  const startedMs = performance.now();
  await store.follow(prefix, {
    after,
    signal: end.signal,
    onValue() {
      if (++seen === missed) end.abort();
    },
  });
  return (missed / (performance.now() - startedMs)) * 1000;
}

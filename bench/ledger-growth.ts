/**
 * What the ledger costs as it grows: five etcd members with 10,000 objects and 500 watchers against
 * three with none, a member's restart with 50,000 keys, and the memory of a cell's server with etcd.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { weigh } from "../src/drill/scripts/soak-sample.ts";
import { skerryJson } from "../src/drill/site/command.ts";
import { processesOfFolder } from "../src/drill/site/processes.ts";
import { defaultTimers } from "../src/ledger/etcd/index.ts";
import type { Ledger, Revision } from "../src/ledger/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  median,
  throughput,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { preferBuilt, startCell } from "./support/cells.ts";
import { startMembers, type Members } from "./support/members.ts";
import { weighNode } from "./support/weights.ts";

export const about = "the ledger with 5 servers, 500 watchers and 50,000 keys; memory of a server";

const callers = 64;
const objects = 10_000;
const watchers = 500;
const keysAtRestart = 50_000;
const many = 1_000;
const singles = 100;
const patienceMs = 120_000;
const settleMs = 20_000;
const value = new Uint8Array(300).fill(120);
const MB = 1e6;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const grown = await inFolder((folder) => measureGrowth(folder, options));
  const memory = await inFolder((folder) => measureMemory(folder, options));
  const figures = { ...grown.figures, ...memory };
  const row = (what: string, value: number) => ({ what, value: Number(value.toPrecision(3)) });
  return {
    ratios: grown.ratios,
    figures,
    table: Object.entries(figures).map(([what, value]) => row(what, value)),
  };
}

async function put(ledger: Ledger, key: string): Promise<Revision> {
  const outcome = await ledger.transact([], [{ type: "put", key, value }]);
  if (outcome.state !== "done") throw new Error(`a put was ${outcome.state}`);
  return outcome.revision;
}

const fill = (ledger: Ledger, prefix: string, count: number) =>
  throughput({ count, callers }, (i) => put(ledger, `${prefix}${i}`));

async function measureGrowth(folder: string, options: BenchOptions) {
  const { signal, progress } = options;
  const start = (name: string, count: number, port: number) =>
    startMembers({
      folder: join(folder, name),
      hosts: Array.from({ length: count }, (_, index) => `127.0.57.${index + 1}`),
      port,
      timers: defaultTimers,
      signal,
    });
  await using stack = new AsyncDisposableStack();
  const open = async (members: Members) =>
    stack.adopt(await members.openLedger(), (ledger) => ledger.close());
  progress("three members, and five");
  const small = await open(stack.use(await start("small", 3, 7446)));
  const members = stack.use(await start("large", 5, 7456));
  const large = await open(members);
  await fill(small, "objects/", 100);
  progress(`${objects} objects and ${watchers} watchers on five`);
  await fill(large, "objects/", objects);
  await using following = await watchAll(large, signal);

  const measured = await interleave(options, {
    small: () => measureWrites(small),
    large: () => measureWrites(large),
  });
  const fanOutMs = await latencyMs(singles, () => following.roundMs());
  await following[Symbol.asyncDispose]();

  progress(`${keysAtRestart} keys`);
  await fill(large, "more/", keysAtRestart - objects);
  const restartsMs: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const { leader } = await members.whole(signal);
    const follower = members.all.find((member) => member !== leader);
    if (!follower) throw new Error("a cluster has a follower");
    await follower.kill();
    const startedMs = performance.now();
    follower.start();
    await members.whole(signal);
    restartsMs.push(performance.now() - startedMs);
    progress(`restart ${round + 1} of ${options.rounds}: ${Math.round(restartsMs.at(-1) ?? 0)} ms`);
  }
  const pss = members.all.map(({ pid }) =>
    pid === undefined ? Number.NaN : (weigh(pid)?.pssBytes ?? Number.NaN),
  );
  const { small: few, large: lots } = measured;
  return {
    ratios: {
      "small.throughput": lots.putsPerSecond / few.putsPerSecond,
      "small.p50": few.putP50Ms / lots.putP50Ms,
    },
    figures: {
      smallPutsPerSecond: few.putsPerSecond,
      smallPutP50Ms: few.putP50Ms,
      largePutsPerSecond: lots.putsPerSecond,
      largePutP50Ms: lots.putP50Ms,
      putTo500WatchersP50Ms: fanOutMs,
      restart50000KeysMsMedian: median(restartsMs),
      etcdMember50000KeysPssMb: median(pss) / MB,
    },
  };
}

const measureWrites = async (ledger: Ledger) => ({
  putsPerSecond: await throughput({ count: many, callers }, (i) => put(ledger, `objects/${i}`)),
  putP50Ms: await latencyMs(singles, (i) => put(ledger, `objects/${i}`)),
});

/** Each watcher follows one prefix that all share, and so sees the key that is written. */
async function watchAll(ledger: Ledger, signal: AbortSignal) {
  const end = new AbortController();
  const key = "watched/key";
  const after = await put(ledger, key);
  const stopped = AbortSignal.any([signal, end.signal]);
  const seenRevision = Array.from({ length: watchers }, () => 0);
  const running = seenRevision.map(async (_, index) => {
    for await (const { revision, events } of ledger.watch("watched/", { after, signal: stopped }))
      if (events.length > 0) seenRevision[index] = revision;
  });
  for (const watching of running) watching.catch(() => {});
  /** Until all have seen one more put. */
  const roundMs = async () => {
    const revision = await put(ledger, key);
    const untilMs = performance.now() + patienceMs;
    while (seenRevision.some((seen) => seen < revision)) {
      if (performance.now() > untilMs) throw new Error("a watcher did not see a put");
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
    }
  };
  await roundMs();
  return {
    roundMs,
    async [Symbol.asyncDispose]() {
      end.abort();
      await Promise.allSettled(running);
    },
  };
}

/** Three servers, each with agent, keeper and etcd, idle; from `dist/` only, as an installed one runs. */
async function measureMemory(
  folder: string,
  { signal, progress, forMs = settleMs }: BenchOptions,
): Promise<Record<string, number>> {
  if (preferBuilt() !== "dist") {
    progress(
      "dist/ is missing or older than src/, so a server's memory is left out: npm run build",
    );
    return {};
  }
  progress("a cell of three servers");
  const hosts = ["127.0.57.11", "127.0.57.12", "127.0.57.13"];
  await using cell = await startCell({ folder, cell: "growth", hosts, flags: [], signal });
  const dirs = cell.nodes.map(({ dataDir }) => dataDir);
  await skerryJson(["server", "add", "n2", "n3", "--data", dirs[0] ?? ""], { signal });
  await sleep(forMs, undefined, { signal });
  const weights = dirs.map((dataDir) => {
    const { pssBytes, agentPssBytes, keeperPssBytes } = weighNode(dataDir);
    const etcdPssBytes = processesOfFolder(dataDir)
      .filter((pid) => commandOf(pid) === "etcd")
      .reduce((total, pid) => total + (weigh(pid)?.pssBytes ?? 0), 0);
    if (etcdPssBytes === 0) throw new Error(`no etcd runs for ${dataDir}`);
    return { pssBytes: pssBytes + etcdPssBytes, agentPssBytes, keeperPssBytes, etcdPssBytes };
  });
  const of = (field: keyof (typeof weights)[number]) =>
    median(weights.map((weight) => weight[field])) / MB;
  return {
    serverWithEtcdPssMb: of("pssBytes"),
    serverAgentPssMb: of("agentPssBytes"),
    serverKeeperPssMb: of("keeperPssBytes"),
    serverEtcdPssMb: of("etcdPssBytes"),
  };
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    // It has ended.
    return undefined;
  }
}

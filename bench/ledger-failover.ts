/**
 * The leader of three etcd members is killed, or its machine's link is cut, while a server beside it
 * writes: how long until the next write is acknowledged. Members with the timers that Skerry's plan
 * comes to on a disk that is quick, and members with etcd's own, take turns; what the plan would choose
 * on this disk is told beside them. Then every fsync takes 20 ms more:
 * how many elections nobody needed happen under load with the fast timers, and with those that the plan
 * derives from that disk.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createSlowDisks } from "../src/drill/faults/slow-disk.ts";
import type { Network } from "../src/drill/site/network.ts";
import { defaultTimers, type EtcdTimers } from "../src/ledger/etcd/index.ts";
import { timersAtStart, timerSteps } from "../src/ledger/etcd/timers/index.ts";
import type { Ledger } from "../src/ledger/index.ts";
import { inFolder, median, type BenchOptions, type BenchResult } from "./support/bench.ts";
import { startMembers, type Member, type Members } from "./support/members.ts";
import { ownNetwork } from "./support/own-network.ts";

export const about = "the ledger's leader killed or cut off: until the next acknowledged write";

const trialsDefault = 10;
const forMsDefault = 60_000;
const machines = ["n1", "n2", "n3"];
const slowFsyncMs = 20;
const writers = 16;
/** Beside the writers: one that asks whatever became of the question before. */
const probeEveryMs = 25;
const loadMs = 500;
const patienceMs = 30_000;
/** Faster than etcd's own, and not yet the fastest that the plan knows. */
const fast: EtcdTimers = timerSteps[1] ?? defaultTimers;
const value = new Uint8Array(300).fill(120);

type Fault = "kill" | "cut";
type Side = { readonly timers: EtcdTimers; readonly members: Members };
type SideName = "fast" | "default";

export async function run(given: BenchOptions): Promise<BenchResult> {
  const { network, signal } = await ownNetwork(given, { subnet: 56 });
  const options = { ...given, signal };
  const faults = await inFolder((folder) => loseLeaders(folder, network, options));
  const slow = await inFolder((folder) => slowDisks(folder, network, options));
  return {
    ratios: faults.ratios,
    figures: { ...faults.figures, ...slow.figures },
    table: [...faults.table, ...slow.table],
  };
}

const startIn = (
  folder: string,
  network: Network,
  options: {
    timers: EtcdTimers;
    port: number;
    signal: AbortSignal;
    wrap?: (machine: string, argv: readonly string[]) => readonly string[];
  },
) => {
  const { wrap = (_machine, argv) => argv } = options;
  return startMembers({
    ...options,
    folder,
    hosts: machines.map(network.hostOf),
    launch: (machine, argv) => network.on(machine, wrap(machine, argv)),
  });
};

async function loseLeaders(
  folder: string,
  network: Network,
  options: BenchOptions,
): Promise<BenchResult> {
  const { signal, progress } = options;
  const trials = options.trials ?? trialsDefault;
  const start = (name: SideName, timers: EtcdTimers, port: number) =>
    startIn(join(folder, name), network, { timers, port, signal });
  await using stack = new AsyncDisposableStack();
  const usual = stack.use(await start("default", defaultTimers, 7446));
  const fsyncP99Ms = await measuredDisk(usual, signal);
  const planned = timersAtStart(fsyncP99Ms, fast);
  progress(`fsync p99 ${fsyncP99Ms.toFixed(1)} ms: the plan's timers are ${inWords(planned)}`);
  const sides: Readonly<Record<SideName, Side>> = {
    fast: { timers: fast, members: stack.use(await start("fast", fast, 7456)) },
    default: { timers: defaultTimers, members: usual },
  };
  const faults: readonly Fault[] = network.links ? ["kill", "cut"] : ["kill"];
  const tookMs: Record<SideName, Record<Fault, number[]>> = {
    fast: { kill: [], cut: [] },
    default: { kill: [], cut: [] },
  };
  for (let trial = 0; trial < trials; trial++) {
    for (const fault of faults) {
      const names: SideName[] = trial % 2 === 0 ? ["fast", "default"] : ["default", "fast"];
      for (const name of names) {
        const took = await lose(sides[name], { fault, network, signal });
        tookMs[name][fault].push(took);
        progress(`${trial + 1} of ${trials}: ${fault}, ${name} timers: ${Math.round(took)} ms`);
      }
    }
  }

  const figures: Record<string, number> = {
    trials,
    fsyncP99Ms,
    fastElectionMs: fast.electionMs,
    plannedElectionMs: planned.electionMs,
  };
  const ratios: Record<string, number> = {};
  for (const fault of faults) {
    for (const name of ["fast", "default"] as const) {
      figures[`${name}${titled(fault)}MsMedian`] = median(tookMs[name][fault]);
      figures[`${name}${titled(fault)}MsMax`] = Math.max(...tookMs[name][fault]);
    }
    ratios[`etcdDefault.${fault}`] = median(tookMs.default[fault]) / median(tookMs.fast[fault]);
  }
  const table = faults.flatMap((fault) =>
    (["fast", "default"] as const).map((name) => ({
      what: `${fault}, ${name} timers (${inWords(sides[name].timers)})`,
      "median ms": Math.round(median(tookMs[name][fault])),
      "max ms": Math.round(Math.max(...tookMs[name][fault])),
    })),
  );
  return { ratios, figures, table };
}

/** Under the load that the trials have. */
async function measuredDisk(members: Members, signal: AbortSignal): Promise<number> {
  const ledger = await members.openLedger();
  const load = startLoad(ledger);
  try {
    await sleep(10 * loadMs, undefined, { signal });
    return await members.fsyncP99Ms(signal);
  } finally {
    await load.stop();
    await ledger.close();
  }
}

/** From before the fault until the first acknowledgement of a write that began after it. */
async function lose(
  { members }: Side,
  options: { fault: Fault; network: Network; signal: AbortSignal },
): Promise<number> {
  const { fault, network, signal } = options;
  const { leader } = await members.whole(signal);
  const survivors = members.all.filter((member) => member !== leader);
  const ledger = await members.openLedger([...survivors, leader].map(({ name }) => name));
  const load = startLoad(ledger);
  try {
    await sleep(loadMs, undefined, { signal });
    const startedMs = performance.now();
    await strike(leader, fault, network);
    const strickenMs = performance.now();
    const endMs = await load.acknowledged({ begunAfterMs: strickenMs, signal });
    return endMs - startedMs;
  } finally {
    await load.stop();
    await ledger.close();
    if (fault === "kill") leader.start();
    else await network.links?.heal(leader.name);
  }
}

const strike = (leader: Member, fault: Fault, network: Network): Promise<void> =>
  fault === "kill" ? leader.kill() : (network.links?.cut(leader.name) ?? Promise.resolve());

/** Writes that follow each other, and some that wait for nothing; each its own key. */
function startLoad(ledger: Ledger) {
  const stop = new AbortController();
  const running = new Set<Promise<void>>();
  const acknowledged: { readonly begunMs: number; readonly endMs: number }[] = [];
  let unanswered = 0;
  const write = async (key: string): Promise<void> => {
    const begunMs = performance.now();
    try {
      const outcome = await ledger.transact([], [{ type: "put", key: `load/${key}`, value }], {
        signal: stop.signal,
      });
      if (outcome.state === "done") acknowledged.push({ begunMs, endMs: performance.now() });
      else unanswered++;
    } catch {
      // Refused while nobody leads, or stopped: it was not acknowledged, and that is what is counted.
      unanswered++;
    }
  };
  const track = (work: Promise<void>) => {
    running.add(work);
    void work.finally(() => running.delete(work));
  };
  const loop = async (key: string) => {
    while (!stop.signal.aborted) await write(key);
  };
  for (let writer = 0; writer < writers; writer++) track(loop(`writer-${writer}`));
  let probes = 0;
  const timer = setInterval(() => track(write(`probe-${probes++ % 1000}`)), probeEveryMs);
  return {
    acknowledgedCount: () => acknowledged.length,
    unansweredCount: () => unanswered,
    /** When the first of those that began then came back. */
    async acknowledged(given: { begunAfterMs: number; signal: AbortSignal }): Promise<number> {
      const untilMs = performance.now() + patienceMs;
      for (;;) {
        const ends = acknowledged
          .filter(({ begunMs }) => begunMs >= given.begunAfterMs)
          .map(({ endMs }) => endMs);
        if (ends.length > 0) return Math.min(...ends);
        if (performance.now() > untilMs) throw new Error(`no write within ${patienceMs} ms`);
        await sleep(5, undefined, { signal: given.signal });
      }
    },
    async stop() {
      clearInterval(timer);
      stop.abort();
      await Promise.all(running);
    },
  };
}

/** Both at the same time, on disks that are equally slow: what the machine does befalls both. */
async function slowDisks(
  folder: string,
  network: Network,
  options: BenchOptions,
): Promise<BenchResult> {
  const { signal, progress } = options;
  const forMs = options.forMs ?? forMsDefault;
  const disks = createSlowDisks(join(folder, "disks"));
  for (const machine of machines) disks.set(machine, slowFsyncMs);
  const start = (name: string, timers: EtcdTimers, port: number) =>
    startIn(join(folder, name), network, { timers, port, signal, wrap: disks.wrap });
  await using stack = new AsyncDisposableStack();
  const hasty = stack.use(await start("fast", fast, 7446));
  const fsyncP99Ms = await measuredDisk(hasty, signal);
  const timers = timersAtStart(fsyncP99Ms, fast);
  progress(`with ${slowFsyncMs} ms more the plan's timers are ${inWords(timers)}`);
  const adapted = stack.use(await start("adapted", timers, 7456));

  const elections = async (members: Members) => {
    const before = await members.whole(signal);
    const ledger = await members.openLedger();
    const load = startLoad(ledger);
    try {
      await sleep(forMs, undefined, { signal });
    } finally {
      await load.stop();
      await ledger.close();
    }
    const after = await members.whole(signal);
    return {
      elections: after.raftTerm - before.raftTerm,
      writes: load.acknowledgedCount(),
      unanswered: load.unansweredCount(),
    };
  };
  progress(`${Math.round(forMs / 1000)} s of load on slow disks`);
  const [ofFast, ofAdapted] = await Promise.all([elections(hasty), elections(adapted)]);
  const row = (what: string, { elections: count, writes }: typeof ofFast) => ({
    what,
    "needless elections": count,
    writes,
  });
  return {
    ratios: {},
    figures: {
      slowForMs: forMs,
      slowFsyncP99Ms: fsyncP99Ms,
      slowAdaptedElectionMs: timers.electionMs,
      slowFastNeedlessElections: ofFast.elections,
      slowAdaptedNeedlessElections: ofAdapted.elections,
      slowFastWritesPerSecond: (ofFast.writes / forMs) * 1000,
      slowAdaptedWritesPerSecond: (ofAdapted.writes / forMs) * 1000,
    },
    table: [
      row(`fsync ${slowFsyncMs} ms more, ${inWords(fast)}`, ofFast),
      row(`fsync ${slowFsyncMs} ms more, the plan's ${inWords(timers)}`, ofAdapted),
    ],
  };
}

const inWords = ({ heartbeatMs, electionMs }: EtcdTimers) => `${heartbeatMs}/${electionMs} ms`;
const titled = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1);

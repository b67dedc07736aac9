/**
 * `slow-disk`: the disks of all three servers become as slow as an SD card's, then that of the leader much
 * slower still. Nothing is replaced, nobody is taken for dead, writes go on, and all is fast again after.
 */
import { alongside } from "../../lib/alongside.ts";
import { atLeast, atMost, type Drill, type DrillOptions, type DrillReport } from "../drill.ts";
import { createSlowDisks, type SlowDisks } from "../faults/slow-disk.ts";
import { podProcesses, podsOffAfter } from "../site/whole.ts";
import { ledgerLeader } from "./leader-loss.ts";
import { wholePatienceMs } from "./losses.ts";
import { attempt, writeThrough } from "./server-loss.ts";
import type { Attempt } from "./server-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import {
  dataPromises,
  endOutages,
  notMeasured,
  p99Between,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

/** An SD card's fsync; an SSD in its last days, or a disk that others keep busy. */
const everyDiskMs = 30;
const leadersDiskMs = 300;
const writeEveryMs = 250;
/** Of the run, at least, for the leader's disk alone. */
const leaderShare = 0.25;
const podsPatienceMs = 30_000;
const p99Ms = 1000;
/** A transaction needs two fsyncs after one another, and others wait in line. */
const slowestWriteMs = 5000;

export const slowDisk: Drill = {
  name: "slow-disk",
  summary: "fsync takes 30 ms on every server, then 300 ms on the leader: nobody is taken for dead",
  faults: [
    `every fsync of all three servers takes ${everyDiskMs} ms more`,
    `every fsync of the leading server takes ${leadersDiskMs} ms more`,
  ],
  needs: "links",
  defaultForMs: 75_000,
  run,
};

async function run(options: DrillOptions): Promise<DrillReport> {
  const disks = createSlowDisks(options.dir);
  const site = { ...options, servers: 3, startedBy: disks.wrap } as const;
  return await withStage(site, (stage) => play(stage, disks));
}

async function play(stage: Stage, disks: SlowDisks): Promise<DrillReport> {
  const { site, clock, forMs, signal, faults, progress, slowness } = stage;
  const nodes = site.nodes.map(({ node }) => node);
  const [asked = ""] = nodes;
  const look = { from: asked, nodes, clock, signal, timeoutMs: podsPatienceMs * slowness };
  const before = await podProcesses(site, look);
  const over = new AbortController();
  const writing = alongside(writeAll(stage, over.signal));
  await stage.until(0.1);

  const fromMs = clock.wallMs();
  const slow = (fault: string, victims: readonly string[], delayMs: number) => {
    progress(fault);
    faults.push({ atMs: stage.since(), fault });
    for (const node of victims) disks.set(node, delayMs);
  };
  slow(`fsync takes ${everyDiskMs} ms more on ${nodes.join(", ")}`, nodes, everyDiskMs);
  await stage.until(0.5);
  const leader = await ledgerLeader(stage, asked);
  slow(`fsync takes ${leadersDiskMs} ms more on ${leader}, the leader`, [leader], leadersDiskMs);
  // However long it took to be told who leads.
  await Promise.all([stage.until(0.8), clock.sleep(forMs * leaderShare, { signal })]);
  slow("disks are as fast as they were", nodes, 0);
  const toMs = clock.wallMs();
  await stage.until(1);
  over.abort();
  const writes = (await writing).filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const podsOff = await podsOffAfter(site, {
    clock,
    signal,
    timeoutMs: wholePatienceMs * slowness,
  });
  const after = await podProcesses(site, look);
  const seen = await stage.finish();
  const outages = endOutages(seen);
  const changed = [...before].filter(([uid, pids]) => after.get(uid) !== pids).length;
  const failed = writes.filter(({ failure }) => failure !== undefined);
  for (const { failure } of failed.slice(0, 5)) progress(`a write failed: ${failure}`);
  for (const remark of remarksOn(seen, outages)) progress(remark);
  const promises = [
    ...dataPromises(seen),
    ...requestPromises(seen, outages),
    atMost(
      "F1",
      "writes of desired state that failed while disks were slow",
      writes.length === 0 ? notMeasured : failed.length,
      0,
      "writes",
    ),
    atMost(
      "F2",
      "slowest write of desired state",
      writes.length === 0
        ? notMeasured
        : Math.max(...writes.map(({ tookMs }) => Math.round(tookMs))),
      slowestWriteMs,
      "ms",
    ),
    atMost(
      "F3",
      "pods whose uid or pid changed",
      before.size === 0 ? notMeasured : changed,
      0,
      "pods",
    ),
    atMost(
      "F4",
      "p99 of requests while disks were slow",
      p99Between(seen.requests.samples, nodes, { fromMs, toMs }),
      p99Ms,
      "ms",
    ),
    atLeast(
      "F5",
      "fsyncs held back on the server with the fewest",
      Math.min(...nodes.map((node) => disks.heldBack(node))),
      10,
      "fsyncs",
    ),
    atMost("R3", "pods too many or too few in the end", podsOff, 0, "pods"),
  ];
  return reportOf("slow-disk", seen, { promises, outages, faults: seen.faults });
}

/** Through one node after another, as kubectl does, until it is over. */
async function writeAll(stage: Stage, over: AbortSignal): Promise<Attempt[]> {
  const { site, clock, signal } = stage;
  const writes: Attempt[] = [];
  for (let turn = 0; !over.aborted; turn++) {
    const { node } = site.nodes[turn % site.nodes.length] ?? { node: "" };
    writes.push(await attempt(stage, () => writeThrough(stage, node, turn)));
    await clock.sleep(writeEveryMs, { signal });
  }
  return writes;
}

/**
 * `nemesis`: faults of every kind, some at once, from the seed, over a cell of three servers, while
 * clients on all nodes read, write, compare-and-set, hold locks and watch through the coordination
 * interface. What they were told is checked afterwards: see checkers/.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { hostMonotonicMs } from "../../runtime/clock/index.ts";
import { alongside } from "../../lib/alongside.ts";
import { explain } from "../../lib/errors.ts";
import type { HistoryOperation } from "../checkers/linearizability.ts";
import type { Drill, DrillOptions, DrillReport, FaultRecord } from "../drill.ts";
import { createSlowDisks } from "../faults/slow-disk.ts";
import { mountVolume, type Volume } from "../faults/volume.ts";
import { createCoordinationHttp, type CoordinationHttp } from "../load/coordination-http.ts";
import { keysATurn } from "../load/coordination.ts";
import type { MachineName } from "../site/network.ts";
import { startSite, type Site } from "../site/site.ts";
import { waitUntil } from "../site/whole.ts";
import { createClients } from "./nemesis-clients.ts";
import { createHands, type Hands } from "./nemesis-faults.ts";
import { describeFault, isMomentary, planNemesis, type NemesisStep } from "./nemesis-plan.ts";
import { judgeNemesis, type NemesisSeen } from "./nemesis-verdict.ts";

const servers = 3;
const nodeNames = ["n1", "n2", "n3"];
const registers = 6;
const locks = 2;
/** A namespace holds 4096 keys. */
const keysMax = 3000;
const timeoutMs = 3000;
const sessionTtlMs = 3000;
const readyTimeoutMs = 60_000;
/** The disk of a machine, for all it stores; etcd's log alone takes two segments of 64 MB at once. */
const volumeBytes = 1024 * 1024 * 1024;
/** So that the clients' last words are under way before they are asked to end. */
const settleMs = 500;

export const nemesis: Drill = {
  name: "nemesis",
  summary: "every fault there is, some at once, and what clients were told checked for consistency",
  faults: [
    "machines killed and frozen, agents and ledgers killed, all restarted",
    "links cut, parted, deaf one way, flapping, lossy, slow",
    "disks slow and full",
  ],
  needs: "links",
  defaultForMs: 600_000,
  run,
};

async function run(options: DrillOptions): Promise<DrillReport> {
  const { clock, dir, network, progress, signal, slowness, seed, forMs } = options;
  mkdirSync(dir, { recursive: true });
  const disks = createSlowDisks(dir);
  await using volumes = await mountVolumes(dir);
  const site = await startSite({ ...options, cell: "nemesis", servers, startedBy: disks.wrap });
  try {
    const clients = createClients(
      {
        seed,
        registers,
        locks,
        pauseMs: 40 * slowness,
        createEveryMs: Math.max(150, (forMs * nodeNames.length * keysATurn) / keysMax) * slowness,
        timeoutMs: timeoutMs * slowness,
        sessionTtlMs,
      },
      { dir, network, site },
    );
    const hands = createHands({
      ...options,
      site,
      clients,
      disks,
      volumesByNode: volumes.byNode,
    });
    await writesBack(options, site);
    for (const node of nodeNames) clients.start(node);
    const plan = planNemesis({ seed, forMs, nodes: nodeNames, servers });
    const startedMs = clock.monotonicMs();
    const since = () => Math.round(clock.monotonicMs() - startedMs);
    const faults = await play(plan, { ...options, hands, since });
    await hands.mendAll();
    progress("all is mended; waiting for writes to be accepted through every node");
    const writesBackMs = await writesBack(options, site).catch((error: unknown) => {
      if (signal.aborted) throw error;
      progress(explain(error));
      return undefined;
    });
    await clock.sleep(Math.max(settleMs, forMs - since()), { signal });
    await clients.finish();
    progress("reading everything once more through every node");
    const last = await readAll(options, site);
    progress("checking the histories");
    const { report, remarks } = judgeNemesis({
      seed,
      forMs,
      slowness,
      histories: clients.histories(),
      ...last,
      faults,
      planned: plan.length,
      writesBackMs,
    });
    for (const remark of remarks) progress(remark);
    return report;
  } finally {
    progress("taking the site down");
    await site.close();
  }
}

async function mountVolumes(
  dir: string,
): Promise<AsyncDisposable & { readonly byNode: ReadonlyMap<MachineName, Volume> }> {
  const byNode = new Map<MachineName, Volume>();
  for (const node of nodeNames) {
    const folder = join(dir, node);
    const image = join(dir, `${node}.img`);
    byNode.set(node, await mountVolume({ folder, image, bytes: volumeBytes }));
  }
  return {
    byNode,
    async [Symbol.asyncDispose]() {
      for (const volume of byNode.values()) await volume.unmount();
    },
  };
}

async function play(
  plan: readonly NemesisStep[],
  stage: DrillOptions & { readonly hands: Hands; since(): number },
): Promise<FaultRecord[]> {
  const { clock, hands, progress, signal, since } = stage;
  const faults: FaultRecord[] = [];
  const until = (atMs: number) => clock.sleep(Math.max(0, atMs - since()), { signal });
  // One after the other, except what the plan has at once. Where mending took longer than planned all that
  // follows is as much later, so that the cell has its rest.
  let busy: Promise<void>[] = [];
  let endMs = 0;
  let lateMs = 0;
  for (const step of plan) {
    if (step.atMs >= endMs) {
      await Promise.all(busy);
      if (busy.length > 0) lateMs = Math.max(lateMs, since() - endMs);
      busy = [];
    }
    endMs = Math.max(endMs, step.atMs + step.forMs);
    await until(step.atMs + lateMs);
    const text = describeFault(step);
    progress(text);
    const atMs = since();
    const undo = await hands.inflict(step);
    const record = async () => {
      await until(atMs + step.forMs);
      if (!isMomentary(step)) progress(`over: ${text}`);
      await undo();
      faults.push({ atMs, fault: text, recoveredMs: since() - atMs });
    };
    busy.push(alongside(record()));
  }
  await Promise.all(busy);
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** How long until every node accepts a write. Throws `drill-step-failed`. */
async function writesBack(options: DrillOptions, site: Site): Promise<number> {
  const { clock, signal, slowness } = options;
  const startedMs = clock.monotonicMs();
  await Promise.all(
    site.nodes.map(({ node }) =>
      throughNode(options, site, node, (cell) =>
        waitUntil(
          `a write accepted through ${node}`,
          async () => {
            const outcome = await cell.put(`probe/${node}`, "here");
            return outcome.state === "done"
              ? { found: undefined }
              : { missing: JSON.stringify(outcome) };
          },
          { clock, signal, timeoutMs: readyTimeoutMs * slowness },
        ),
      ),
    ),
  );
  return Math.round(clock.monotonicMs() - startedMs);
}

/** Every register and every created key, through each node in turn. */
async function readAll(
  options: DrillOptions,
  site: Site,
): Promise<Pick<NemesisSeen, "lastReads" | "stored">> {
  const lastReads: HistoryOperation[] = [];
  const stored: {
    node: string;
    items?: readonly { key: string; value: string; version: number }[];
  }[] = [];
  for (const [index, { node }] of site.nodes.entries()) {
    await throughNode(options, site, node, async (cell) => {
      for (let register = 0; register < registers; register++) {
        const key = `r/${register}`;
        const calledAt = hostMonotonicMs();
        const outcome = await cell.read(key);
        if (outcome.state === "failed") continue;
        const value = outcome.state === "found" ? outcome.value : undefined;
        const answeredAt = hostMonotonicMs();
        lastReads.push({ client: -1 - index, key, calledAt, answeredAt, type: "read", value });
      }
      try {
        stored.push({ node, items: (await cell.list("set/")).items });
      } catch (error) {
        options.progress(`nothing can be listed through ${node}: ${explain(error)}`);
        stored.push({ node });
      }
    });
  }
  return { lastReads, stored };
}

async function throughNode<T>(
  { clock, slowness }: DrillOptions,
  site: Site,
  name: MachineName,
  use: (cell: CoordinationHttp) => Promise<T>,
): Promise<T> {
  const node = site.nodes.find((one) => one.node === name);
  const cell = createCoordinationHttp({
    gateway: node?.gateway ?? "",
    token: node?.token ?? "",
    timeoutMs: timeoutMs * slowness,
    clock,
  });
  try {
    return await use(cell);
  } finally {
    await cell.close();
  }
}

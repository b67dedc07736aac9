/**
 * `partition`: a server that runs a `stop` pod and a `keep` pod is cut off from the other two. Its `keep`
 * pod runs on and is replaced, its `stop` pod ends before another begins. Then the machine with the `stop` pod
 * is paused for longer than any lease: that no timer covers, the fencing token does. Rule F.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { alongside } from "../../lib/alongside.ts";
import { explain } from "../../lib/errors.ts";
import { hostMonotonicMs } from "../../runtime/clock/index.ts";
import type { Drill, DrillOptions, DrillReport } from "../drill.ts";
import { createWires } from "../faults/wires.ts";
import type { SingletonPod } from "../load/singleton.ts";
import { deploySingleton, readSingletons } from "../site/singleton.ts";
import {
  echoPods,
  isReady,
  podProcesses,
  podsOffAfter,
  waitUntil,
  waitWhole,
} from "../site/whole.ts";
import { firstWrite } from "./leader-loss.ts";
import { wholePatienceMs } from "./losses.ts";
import { judgePartition, type Cut, type Paused } from "./partition-verdict.ts";
import { attempt, writeThrough } from "./server-loss.ts";
import type { Attempt } from "./server-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import { placePodOn } from "./victims.ts";

/** Short, so that the drill is: the default is 30 s. */
const ttlMs = 10_000;
const takeoverPatienceMs = 90_000;
const readyPatienceMs = 60_000;
/** The cell must have noticed by then, and says why it refuses. */
const noticedMs = 5000;
const writeEveryMs = 500;
/** After the new one began: by when an old one would have shown itself. */
const aftermathMs = 3000;
const beatingMs = 1000;

export const partition: Drill = {
  name: "partition",
  summary: "a server cut off, then one paused: keep pods run on, no two stop pods at once",
  faults: [
    "cut the node with the stop pod off from the other two servers, until the pod runs elsewhere",
    "pause the machine with the stop pod until the pod runs elsewhere, then let it go on",
  ],
  needs: "links",
  defaultForMs: 120_000,
  run: (options) => withStage({ ...options, servers: 3 }, (stage) => play(stage, options)),
};

type Scene = Stage & { pods(): readonly SingletonPod[] };

async function play(stage: Stage, options: DrillOptions): Promise<DrillReport> {
  const { site, clock, signal, progress, slowness } = stage;
  const dir = join(options.dir, "singleton");
  mkdirSync(dir);
  const scene: Scene = { ...stage, pods: () => readSingletons(dir) };
  const patience = { clock, signal, timeoutMs: readyPatienceMs * slowness };
  // Members that are new may still be restarted with other timers.
  await waitUntil(
    "the stop pod's Deployment accepted",
    async () => ({ found: await deploySingleton(site, { dir, ttlMs }) }),
    patience,
  );
  const first = await running(scene, { sinceMs: 0, timeoutMs: patience.timeoutMs });
  await placePodOn(stage, first.node);
  await waitWhole(site, patience);
  await stage.until(0.05);
  const cut = await cutOff(scene, options, first.node);
  await waitWhole(site, patience);

  await stage.until(0.5);
  const second = await running(scene, { sinceMs: 0, timeoutMs: patience.timeoutMs });
  const paused = await pause(scene, second);
  await stage.until(1);
  const podsOff = await podsOffAfter(site, {
    clock,
    signal,
    timeoutMs: wholePatienceMs * slowness,
  });
  const { report, remarks } = judgePartition({
    ...(await stage.finish()),
    ttlMs,
    pods: scene.pods(),
    cut,
    paused,
    podsOff,
  });
  for (const remark of remarks) progress(remark);
  return report;
}

const othersThan = ({ site }: Stage, node: string) =>
  site.nodes.map((one) => one.node).filter((name) => name !== node);

/** The stop pod that runs now and began after `sinceMs`. Throws `drill-step-failed`. */
function running(
  { clock, signal, pods }: Scene,
  { sinceMs, timeoutMs }: { sinceMs: number; timeoutMs: number },
): Promise<SingletonPod> {
  return waitUntil<SingletonPod>(
    "the stop pod to run",
    async () => {
      const found = pods().find(({ lines }) => {
        const beats = lines.flatMap((line) => (line.line === "beat" ? [line.atMs] : []));
        const [began = 0, last = 0] = [beats[0], beats.at(-1)];
        return began > sinceMs && last > hostMonotonicMs() - beatingMs;
      });
      return found ? { found } : { missing: "none runs" };
    },
    { clock, signal, timeoutMs },
  );
}

/** Undefined when no other took over; the verdict says so. */
async function takenOver(scene: Scene, sinceMs: number): Promise<SingletonPod | undefined> {
  const { clock, progress, signal, slowness } = scene;
  const next = await running(scene, { sinceMs, timeoutMs: takeoverPatienceMs * slowness }).catch(
    (error: unknown) => {
      if (signal.aborted) throw error;
      progress(explain(error));
      return undefined;
    },
  );
  await clock.sleep(aftermathMs, { signal });
  return next;
}

async function cutOff(scene: Scene, { network }: DrillOptions, node: string): Promise<Cut> {
  const { site, clock, signal, progress, slowness } = scene;
  const others = othersThan(scene, node);
  site.lookFrom(others[0] ?? "");
  const patience = { clock, signal, timeoutMs: readyPatienceMs * slowness };
  const look = { from: node, nodes: [node], of: "echo", ...patience };
  const before = await podProcesses(site, look);
  const keepWanted = (await keepPods(scene)).length;
  const wires = createWires(network);
  const fault = `cut ${node} off from ${others.join(" and ")}`;
  progress(fault);
  const [atMs, fromWallMs, fromMs] = [scene.since(), clock.wallMs(), hostMonotonicMs()];
  try {
    await Promise.all(
      others.flatMap((other) => [
        wires.set({ from: other, to: node }, { state: "dropped" }),
        wires.set({ from: node, to: other }, { state: "dropped" }),
      ]),
    );
    const cutMs = hostMonotonicMs();
    const replaced = alongside(keepReplaced(scene, node, keepWanted, fromMs));
    const accepted = alongside(
      Promise.all(others.map((other) => firstWrite(scene, other, fromWallMs))),
    );
    await clock.sleep(noticedMs * slowness, { signal });
    const done = new AbortController();
    const refusals = alongside(writesUntil(scene, node, done.signal));
    const next = await takenOver(scene, cutMs);
    done.abort();
    const majority = await accepted;
    const keepReplacedMs = await replaced;
    return {
      fault,
      atMs,
      node,
      fromMs: cutMs,
      endedMs: hostMonotonicMs(),
      next: next?.pod,
      before,
      after: await podProcesses(site, look),
      minorityWrites: await refusals,
      majorityWritesMs: majority.includes(undefined)
        ? undefined
        : Math.max(...majority.flatMap((ms) => ms ?? [])),
      keepReplacedMs,
    };
  } finally {
    progress(`${node} is reached again`);
    await wires.healAll();
  }
}

async function keepPods({ site }: Stage) {
  return (await echoPods(site)).filter(({ metadata }) => metadata.name.startsWith("echo"));
}

/** Since the cut, until the majority has as many as are wanted; undefined when it never has. */
async function keepReplaced(
  scene: Scene,
  node: string,
  wanted: number,
  fromMs: number,
): Promise<number | undefined> {
  const { clock, signal, slowness } = scene;
  try {
    return await waitUntil<number>(
      `the keep pods of ${node} replaced`,
      async () => {
        const pods = await keepPods(scene);
        const there = pods.filter((pod) => isReady(pod) && pod.spec.nodeName !== node).length;
        return there >= wanted
          ? { found: Math.round(hostMonotonicMs() - fromMs) }
          : { missing: `${there} of ${wanted}` };
      },
      { clock, signal, timeoutMs: readyPatienceMs * slowness },
    );
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}

async function writesUntil(stage: Stage, node: string, over: AbortSignal): Promise<Attempt[]> {
  const attempts: Attempt[] = [];
  for (let turn = 0; !over.aborted; turn++) {
    attempts.push(await attempt(stage, () => writeThrough(stage, node, turn)));
    await stage.clock.sleep(writeEveryMs, { signal: stage.signal });
  }
  return attempts;
}

async function pause(scene: Scene, { node, pod }: SingletonPod): Promise<Paused> {
  const { site, clock, signal, progress } = scene;
  site.lookFrom(othersThan(scene, node)[0] ?? "");
  const fault = `pause ${node}`;
  progress(fault);
  const begin = { node, fault, atMs: scene.since(), fromMs: clock.wallMs() };
  const fromMs = hostMonotonicMs();
  await site.freezeNode(node);
  const next = await takenOver(scene, fromMs);
  progress(`${node} goes on`);
  const thawedMs = hostMonotonicMs();
  site.thawNode(node);
  scene.outages.push({ ...begin, returnedMs: clock.wallMs() });
  await clock.sleep(aftermathMs, { signal });
  return { fault, atMs: begin.atMs, node, pod, fromMs, thawedMs, next: next?.pod };
}

/** Machines that go away and come back, none of them the server: what is done to them, and when. */
import { echoPods, isReady, podsOffAfter, wantedPods, waitUntil } from "../site/whole.ts";
import type { DrillReport, PromiseResult } from "../drill.ts";
import { lossPromises, recordsOf, type Loss, type LossesSeen } from "./loss-verdict.ts";
import type { Stage } from "./stage.ts";
import { placePodOn } from "./victims.ts";
import {
  dataPromises,
  endOutages,
  ingressBackPromise,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

export type LossKind = "kill" | "cut and kill" | "freeze";

/** Longer than the promise: what comes late is measured, what does not come is left. */
const replacementPatienceMs = 15_000;
/** The machine stays away this long after it was replaced: every ingress has to answer by it. */
const afterReplacementMs = 1500;
/** On a slow machine somewhat longer, but a drill shall end. */
const holdFactorMax = 2;
export const wholePatienceMs = 45_000;
/** Below the silence after which a node counts as unreachable. */
const pauseMs = 700;
/** By when a pause that was mistaken for a death would have shown. */
const pauseAftermathMs = 4000;

/** `podsOff`: too many or too few, once it was back. */
export type LostMachine = { readonly loss: Loss; readonly podsOff: number };

/**
 * Takes a machine with a pod on it away until it is replaced, then gives it back; resolves when the cell
 * has settled. `meanwhile` begins when it is gone, and is waited for before it returns.
 */
export async function loseNode(
  stage: Stage,
  node: string,
  kind: LossKind,
  meanwhile?: (fromMs: number) => Promise<void>,
): Promise<LostMachine> {
  const { site, clock, signal, progress } = stage;
  await placePodOn(stage, node);
  const podsBefore = (await echoPods(site)).map(({ metadata, spec }) => ({
    name: metadata.name,
    node: spec.nodeName ?? "",
  }));
  progress(`${kind} ${node}`);
  const begin = { node, fault: `${kind} ${node}`, atMs: stage.since(), fromMs: clock.wallMs() };
  if (kind === "cut and kill") await site.cutLink(node);
  if (kind === "freeze") await site.freezeNode(node);
  else await site.killNode(node);
  await Promise.all([waitReplaced(stage, node), meanwhile?.(begin.fromMs)]);
  await clock.sleep(afterReplacementMs * Math.min(stage.slowness, holdFactorMax), { signal });

  progress(`${node} comes back`);
  const returnedMs = clock.wallMs();
  if (kind === "cut and kill") await site.healLink(node);
  if (kind === "freeze") site.thawNode(node);
  else await site.startNode(node);
  // Its ingress is awaited from when it is up: how fast a machine boots is no promise of ours.
  stage.outages.push({ ...begin, returnedMs: clock.wallMs() });
  const podsOff = await podsOffAfter(site, { clock, signal, timeoutMs: wholePatienceMs });
  return { loss: { ...begin, returnedMs, podsBefore }, podsOff };
}

/** Ends the load, and judges what every loss of a machine promises; `promises` are this drill's own. */
export async function concludeLosses(
  stage: Stage,
  drill: string,
  lost: readonly LostMachine[],
  own: {
    /** Default: that of a machine which is no server. */
    readonly replacedWithinMs?: number;
    readonly promises: readonly PromiseResult[];
  },
): Promise<DrillReport> {
  const seen = await stage.finish();
  const outages = endOutages(seen);
  const judged: LossesSeen = {
    nodes: seen.nodes,
    samples: seen.requests.samples,
    losses: lost.map(({ loss }) => loss),
    outages,
    podsOff: Math.max(0, ...lost.map(({ podsOff }) => podsOff)),
  };
  for (const remark of remarksOn(seen, outages)) stage.progress(remark);
  return reportOf(drill, seen, {
    outages,
    promises: [
      ...dataPromises(seen),
      ...requestPromises(seen, outages),
      ...lossPromises(judged, own),
      ingressBackPromise(outages),
      ...own.promises,
    ],
    faults: [...seen.faults, ...recordsOf(judged)],
  });
}

async function waitReplaced(stage: Stage, lost: string): Promise<void> {
  const { site, clock, signal, progress } = stage;
  const timeoutMs = replacementPatienceMs * stage.slowness;
  const wanted = await wantedPods(site);
  try {
    await waitUntil(
      `the pods of ${lost} replaced`,
      async () => {
        const pods = await echoPods(site);
        const elsewhere = pods.filter((pod) => isReady(pod) && pod.spec.nodeName !== lost).length;
        return elsewhere >= wanted
          ? { found: true }
          : { missing: `${elsewhere} of ${wanted} ready` };
      },
      { clock, signal, timeoutMs },
    );
  } catch (error) {
    if (signal.aborted) throw error;
    // The verdict says so with a number.
    progress(`the pods of ${lost} were not replaced within ${timeoutMs} ms`);
  }
}

/** Freezes a node for less than a second; answers how many pods were made because of it. */
export async function pauseNode(stage: Stage, node: string): Promise<number> {
  const { site, clock, signal, progress } = stage;
  const before = new Set((await echoPods(site)).map(({ metadata }) => metadata.uid));
  progress(`pause ${node}`);
  const begin = { node, fault: `pause ${node}`, atMs: stage.since(), fromMs: clock.wallMs() };
  await site.freezeNode(node);
  await clock.sleep(Math.max(0, pauseMs - (clock.wallMs() - begin.fromMs)), { signal });
  site.thawNode(node);
  stage.outages.push({ ...begin, returnedMs: clock.wallMs() });
  await clock.sleep(pauseAftermathMs, { signal });
  return (await echoPods(site)).filter(({ metadata }) => !before.has(metadata.uid)).length;
}

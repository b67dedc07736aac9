/** Runs the plans for nodes and for the pods on them. */
import { nodeKind, podKind, type NodeVerdict, type Pod } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import { conditionOf, keyOf } from "../objects.ts";
import type { Verdicts } from "../ports.ts";
import {
  isMarked,
  lifecycleDefaults,
  markedStatus,
  planNode,
  planPod,
  type LifecycleOptions,
  type PodStep,
} from "./plan.ts";

/** A node that is silent is looked at this often: rule E may come to allow what it did not. */
const watchMs = 1000;

export function createNodeLifecycle(
  context: Context,
  verdicts: Verdicts,
  given: Partial<LifecycleOptions> = {},
): Controller & { stop(): void } {
  const { resources, caches, clock, events } = context;
  const options = { ...lifecycleDefaults, ...given };
  /** Since when a node has been reached, as far as this leader saw. */
  const backSinceMs = new Map<string, MonotonicMs>();

  const reconcile = async (name: string, signal: AbortSignal) => {
    const node = caches.nodes.get(name);
    if (!node) {
      backSinceMs.delete(name);
      return undefined;
    }
    const verdict = verdicts.verdicts().get(name);
    noteReturn(name, verdict);
    const plan = planNode(node, verdict, clock.wallMs(), options);
    let current = node;
    if (plan.conditions) {
      const before = conditionOf(node.status?.conditions, "Ready");
      const now = conditionOf(plan.conditions, "Ready");
      const next = { ...node, status: { ...node.status, conditions: plan.conditions } };
      const result = await resources.update(nodeKind, next, {
        fieldManager,
        signal,
        subresource: "status",
      });
      current = written(result, `node ${name}`, ["not-found"]) ?? node;
      if (before?.reason !== now?.reason) {
        events.record({
          about: node,
          type: now?.status === "True" ? "Normal" : "Warning",
          reason: now?.status === "True" ? "NodeReady" : (now?.reason ?? "NodeNotReady"),
          message: now?.message ?? "",
        });
      }
    }
    if (plan.taints) {
      const next = { ...current, spec: { ...current.spec, taints: plan.taints } };
      const result = await resources.update(nodeKind, next, { fieldManager, signal });
      written(result, `node ${name}`, ["not-found"]);
    }
    // A healthy node's heartbeats cost nothing here, whatever it runs.
    const reached = isReached(verdict);
    for (const pod of caches.pods.byIndex("node", name))
      if (!reached || isMarked(pod)) podLoop.add(keyOf(pod));
    const silent = verdict?.state === "unreachable" || verdict?.state === "agent-down";
    const againMs = Math.min(plan.againMs ?? Infinity, silent ? watchMs : Infinity);
    return Number.isFinite(againMs) ? { againMs } : undefined;
  };

  const noteReturn = (name: string, verdict: NodeVerdict | undefined) => {
    if (!isReached(verdict)) backSinceMs.delete(name);
    else if (!backSinceMs.has(name)) backSinceMs.set(name, clock.monotonicMs());
  };

  const reconcilePod = async (key: string, signal: AbortSignal) => {
    const pod = caches.pods.get(key);
    const name = pod?.spec.nodeName;
    if (!pod || !name || !caches.nodes.get(name)) return undefined;
    const verdict = verdicts.verdicts().get(name);
    noteReturn(name, verdict);
    const nowMs = clock.monotonicMs();
    const step = planPod(
      {
        pod,
        node: name,
        verdict,
        backForMs: nowMs - (backSinceMs.get(name) ?? nowMs),
        mayEvict: verdicts.mayEvict(name),
        nowMs: clock.wallMs(),
      },
      options,
    );
    if (step.do === "forget") await forget(pod, signal);
    else await mark(pod, step, signal);
    return step.do === "nothing" && step.againMs !== undefined
      ? { againMs: step.againMs }
      : undefined;
  };

  const mark = async (pod: Pod, step: PodStep, signal: AbortSignal) => {
    const status = markedStatus(pod, step, clock.wallMs());
    if (!status) return;
    const result = await resources.update(
      podKind,
      { ...pod, status },
      { fieldManager, signal, subresource: "status" },
    );
    if (!written(result, `pod ${keyOf(pod)}`, ["not-found"])) return;
    if (step.do === "displace" || step.do === "hold") {
      const reason = step.do === "displace" ? "Displaced" : "NotReplaced";
      events.record({ about: pod, type: "Warning", reason, message: step.message });
    }
  };

  const forget = async (pod: Pod, signal: AbortSignal) => {
    await deleteThis(resources, podKind, pod, { signal, gracePeriodSeconds: 0 });
  };

  const loop = createLoop(context, reconcile, { name: "node-lifecycle", workers: 2 });
  const podLoop = createLoop(context, reconcilePod, { name: "node-lifecycle-pods", workers: 4 });
  caches.nodes.onChange(({ key }) => loop.add(key));
  caches.pods.onChange(({ key, object }) => {
    const name = object?.spec.nodeName;
    if (!object || !name) return;
    // Only what may need a mark, or has one: healthy nodes' pods cost nothing here.
    const ready = conditionOf(caches.nodes.get(name)?.status?.conditions, "Ready")?.status;
    if (ready !== "True" || isMarked(object)) podLoop.add(key);
  });
  const unsubscribe = verdicts.onChange((name) => loop.add(name));
  return {
    loops: [loop, podLoop],
    seed() {
      for (const node of caches.nodes.all()) loop.add(keyOf(node));
    },
    stop: unsubscribe,
  };
}

function isReached(verdict: NodeVerdict | undefined): boolean {
  return verdict?.state === "alive" || verdict?.state === "link-down";
}

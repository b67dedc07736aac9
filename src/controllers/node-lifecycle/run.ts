/** Runs the plans for nodes and for the pods on them, and tells what became of a loss. */
import {
  leaseKind,
  nodeKind,
  nodeLeaseNamespace,
  podKind,
  type Node,
  type NodeVerdict,
  type Pod,
} from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { selectsPod } from "../endpoints/plan.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import {
  conditionOf,
  controllerOf,
  isActive,
  isDisplaced,
  isTerminating,
  keyOf,
  uidOf,
} from "../objects.ts";
import type { Verdicts } from "../ports.ts";
import { createLeaseBook } from "./leases.ts";
import type { Phases } from "./loss-words.ts";
import { createLosses } from "./losses.ts";
import { flappingCondition, planNode } from "./node-plan.ts";
import {
  isMarked,
  lifecycleDefaults,
  markedStatus,
  planPod,
  type LifecycleOptions,
  type PodStep,
} from "./plan.ts";
import { createTeller } from "./teller.ts";

/** A node that is silent is looked at this often: rule E may come to allow what it did not. */
const watchMs = 1000;

export function createNodeLifecycle(
  context: Context,
  verdicts: Verdicts,
  given: {
    readonly lifecycle?: Partial<LifecycleOptions>;
    readonly onReplaced?: (phases: Phases) => void;
  } = {},
): Controller & { stop(): void } {
  const { resources, caches, clock } = context;
  const options = { ...lifecycleDefaults, ...given.lifecycle };
  const teller = createTeller(context, verdicts);
  /** Since when a node has been reached, as far as this leader saw. */
  const backSinceMs = new Map<string, MonotonicMs>();

  const isRouted = (pod: Pod) =>
    caches.services
      .byIndex("namespace", pod.metadata.namespace ?? "")
      .filter((service) => service.spec.type !== "ExternalName" && selectsPod(service, pod))
      .every((service) =>
        caches.endpoints
          .get(keyOf(service))
          ?.subsets?.some(({ addresses }) =>
            addresses?.some(({ targetRef }) => targetRef?.uid === uidOf(pod)),
          ),
      );
  const losses = createLosses(
    {
      nowMs: () => clock.monotonicMs(),
      isRouted,
      onEnd(end) {
        teller.ended(end);
        if (end.state === "replaced") given.onReplaced?.(end.phases);
      },
    },
    { lateMs: options.replaceLateMs },
  );

  const leases = createLeaseBook(() => clock.monotonicMs());
  const leaseKeyOf = (node: string) => ({ namespace: nodeLeaseNamespace, name: node });
  const leaseOf = (node: string) => caches.nodeLeases.get(`${nodeLeaseNamespace}/${node}`);

  const stepOf = (pod: Pod, node: string, verdict: NodeVerdict | undefined) => {
    const nowMs = clock.monotonicMs();
    return planPod(
      {
        pod,
        node,
        verdict,
        backForMs: nowMs - (backSinceMs.get(node) ?? nowMs),
        mayEvict: verdicts.mayEvict(node),
        lease: leases.of(node, leaseOf(node)),
        nowMs: clock.wallMs(),
      },
      options,
    );
  };

  const reconcile = async (name: string, signal: AbortSignal) => {
    const node = caches.nodes.get(name);
    if (!node) {
      backSinceMs.delete(name);
      losses.forget(name);
      teller.forget(name);
      leases.forget(name);
      return undefined;
    }
    const verdict = verdicts.verdicts().get(name);
    const silent = verdict?.state === "unreachable" || verdict?.state === "agent-down";
    noteReturn(name, verdict);
    losses.expire();
    const mayEvict = verdict?.state === "unreachable" ? verdicts.mayEvict(name) : undefined;
    const plan = planNode(
      {
        node,
        verdict,
        mayEvict,
        tolerance: verdicts.tolerance(name),
        nowMs: clock.wallMs(),
      },
      options,
    );
    // Taints before anything else: no replacement may be placed on this very node.
    let current = node;
    if (plan.taints) {
      const next = { ...node, spec: { ...node.spec, taints: plan.taints } };
      const result = await resources.update(nodeKind, next, { fieldManager, signal });
      current = written(result, `node ${name}`, ["not-found"]) ?? node;
    }
    // A healthy node's heartbeats cost nothing here, whatever it runs.
    const reached = isReached(verdict);
    const pods = caches.pods.byIndex("node", name).filter((pod) => !reached || isMarked(pod));
    if (verdict?.state === "unreachable") {
      const steps = pods.map((pod) => ({
        step: stepOf(pod, name, verdict),
        displaced: isDisplaced(pod) && !isTerminating(pod),
      }));
      teller.silent(node, verdict, steps);
    }
    for (const pod of pods) podLoop.add(keyOf(pod));
    if (plan.conditions) await setConditions(node, current, plan.conditions, pods.length, signal);
    if (reached) teller.heard(name);
    const againMs = Math.min(
      plan.againMs ?? Infinity,
      mayEvict?.againMs ?? Infinity,
      silent ? watchMs : Infinity,
    );
    return Number.isFinite(againMs) ? { againMs } : undefined;
  };

  const setConditions = async (
    before: Node,
    current: Node,
    conditions: NonNullable<Node["status"]>["conditions"],
    survivors: number,
    signal: AbortSignal,
  ) => {
    const next = { ...current, status: { ...current.status, conditions } };
    const options = { fieldManager, signal, subresource: "status" } as const;
    const result = await resources.update(nodeKind, next, options);
    if (!written(result, `node ${keyOf(before)}`, ["not-found"])) return;
    const changed = (type: string) => {
      const now = conditionOf(conditions, type);
      const was = conditionOf(before.status?.conditions, type);
      return was?.reason === now?.reason ? undefined : now;
    };
    const ready = changed("Ready");
    if (ready) teller.ready(before, ready, survivors);
    const flapping = changed(flappingCondition);
    if (flapping) teller.flapping(before, flapping);
  };

  const noteReturn = (name: string, verdict: NodeVerdict | undefined) => {
    if (!isReached(verdict)) backSinceMs.delete(name);
    else if (!backSinceMs.has(name)) {
      backSinceMs.set(name, clock.monotonicMs());
      losses.forget(name);
    }
  };

  const reconcilePod = async (key: string, signal: AbortSignal) => {
    const pod = caches.pods.get(key);
    const name = pod?.spec.nodeName;
    if (!pod || !name || !caches.nodes.get(name)) return undefined;
    const verdict = verdicts.verdicts().get(name);
    noteReturn(name, verdict);
    const step = stepOf(pod, name, verdict);
    if (step.do === "forget") await forget(pod, name, step, signal);
    else if ((step.do === "displace" || step.do === "end") && verdict)
      await displace(pod, name, step, verdict, signal);
    else await mark(pod, step, signal);
    return (step.do === "nothing" || step.do === "hold") && step.againMs !== undefined
      ? { againMs: step.againMs }
      : undefined;
  };

  const displace = async (
    pod: Pod,
    node: string,
    step: Extract<PodStep, { do: "displace" | "end" }>,
    verdict: NodeVerdict,
    signal: AbortSignal,
  ) => {
    const siblings = caches.pods.byIndex("owner", controllerOf(pod)?.uid ?? "");
    losses.losing(node, teller.silenceOf(node, verdict), pod, siblings);
    const marked = await mark(pod, step, signal);
    if (marked) losses.lost(node, pod);
    else losses.spared(node, pod);
  };

  /** False: there was nothing to write, or nothing to write it to. */
  const mark = async (pod: Pod, step: PodStep, signal: AbortSignal): Promise<boolean> => {
    const status = markedStatus(pod, step, clock.wallMs());
    if (!status) return false;
    const lease = step.do === "end" ? { version: step.leaseVersion } : undefined;
    const result = await resources.update(
      podKind,
      { ...pod, status },
      { fieldManager, signal, subresource: "status", ...whileLease(pod.spec.nodeName, lease) },
    );
    return written(result, `pod ${keyOf(pod)}`, ["not-found"]) !== undefined;
  };

  /** A renewal that this leader has not seen yet refuses the write: the pod may run again by it. */
  const whileLease = (node = "", lease: { readonly version: string | undefined } | undefined) =>
    lease && {
      onlyWhile: [{ kind: leaseKind, key: leaseKeyOf(node), resourceVersion: lease.version }],
    };

  const forget = async (
    pod: Pod,
    node: string,
    { lease }: Extract<PodStep, { do: "forget" }>,
    signal: AbortSignal,
  ) => {
    const options = { signal, gracePeriodSeconds: 0, ...whileLease(node, lease) };
    await deleteThis(resources, podKind, pod, options);
  };

  const loop = createLoop(context, reconcile, { name: "node-lifecycle", workers: 2 });
  const podLoop = createLoop(context, reconcilePod, { name: "node-lifecycle-pods", workers: 4 });
  caches.nodes.onChange(({ key }) => loop.add(key));
  caches.pods.onChange(({ key, object, previous }) => {
    const pod = object ?? previous;
    if (losses.open > 0 && pod)
      losses.seen(uidOf(pod), object && isActive(object) ? object : undefined);
    const name = object?.spec.nodeName;
    if (!object || !name) return;
    // Only what may need a mark, or has one: healthy nodes' pods cost nothing here.
    const ready = conditionOf(caches.nodes.get(name)?.status?.conditions, "Ready")?.status;
    if (ready !== "True" || isMarked(object)) podLoop.add(key);
  });
  caches.nodeLeases.onChange(({ object, previous }) => {
    const name = (object ?? previous)?.metadata.name;
    if (name !== undefined) leases.seen(name, object);
  });
  caches.endpoints.onChange(() => losses.routesChanged());
  const unsubscribe = verdicts.onChange((name) => {
    if (!isReached(verdicts.verdicts().get(name))) losses.judged(name);
    loop.add(name);
  });
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

/** Binds pods that have no node, one after the other, so that each sees what the last one took. */
import { fenceAnnotation, podKind, withCondition, type Pod } from "../../api/index.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { conditionOf, hasEnded, isTerminating, keyOf, nowText, objectKey } from "../objects.ts";
import type { Drivers, Verdicts } from "../ports.ts";
import { placePod } from "./plan.ts";
import { createUsage } from "./usage.ts";

/** Freed room is offered to waiting pods at most this often. */
const retryMs = 200;

export function createScheduler(
  context: Context,
  drivers: Drivers,
  verdicts: Pick<Verdicts, "verdicts" | "onChange">,
): Controller & { stop(): void } {
  const { resources, caches, clock, events } = context;
  const unschedulable = new Set<string>();
  const usage = createUsage((pod, name) => {
    const node = caches.nodes.get(name);
    return node ? drivers.hostPorts(pod, node) : [];
  });

  const reconcile = async (key: string, signal: AbortSignal) => {
    if (key === retryKey) {
      for (const waiting of unschedulable) loop.add(waiting);
      return;
    }
    const pod = caches.pods.get(key);
    if (!pod || pod.spec.nodeName || isTerminating(pod) || hasEnded(pod)) {
      unschedulable.delete(key);
      return;
    }
    if (usage.isAhead(pod)) return;
    usage.remove(pod);
    const verdictsByNode = verdicts.verdicts();
    const candidates = [...caches.nodes.all()].map((node) => ({
      node,
      usage: usage.of(node.metadata.name),
      // After a recovery, for one: nodes that are gone for good still say that they are ready.
      unheard: verdictsByNode.get(node.metadata.name)?.state === "unknown",
    }));
    const placement = placePod(pod, candidates, drivers);
    if (placement.state === "placed") await bind(pod, placement.node, signal);
    else await refuse(pod, placement.message, signal);
  };

  const bind = async (pod: Pod, node: string, signal: AbortSignal) => {
    const key = keyOf(pod);
    // The fencing token of this incarnation. Whoever replaces it is created, and so bound, at a later
    // revision than this one, because this binding holds only while the pod stands at its version.
    const annotations = {
      ...pod.metadata.annotations,
      [fenceAnnotation]: pod.metadata.resourceVersion ?? "0",
    };
    const next = {
      ...pod,
      metadata: { ...pod.metadata, annotations },
      spec: { ...pod.spec, nodeName: node },
    };
    // Before the write: whatever becomes of it, nobody else is given this room meanwhile.
    usage.assume(next, node);
    const result = await resources.update(podKind, next, { fieldManager, signal });
    if (result.state !== "done") {
      const found = await resources.get(podKind, objectKey(key), { signal });
      // Unknown and not there yet may still arrive: the room stays taken until the next attempt.
      if (found?.spec.nodeName || result.state === "refused") usage.remove(pod);
      if (found?.spec.nodeName) usage.put(found);
    }
    const bound = written(result, `pod ${key}`, ["not-found"]);
    unschedulable.delete(key);
    if (!bound) return;
    usage.assume(bound, node);
    events.record({
      about: bound,
      type: "Normal",
      reason: "Scheduled",
      message: `Assigned ${key} to ${node}`,
    });
    if (conditionOf(bound.status?.conditions, "PodScheduled")?.status === "False")
      await say(bound, { status: "True" }, signal);
  };

  const refuse = async (pod: Pod, message: string, signal: AbortSignal) => {
    unschedulable.add(keyOf(pod));
    const said = conditionOf(pod.status?.conditions, "PodScheduled");
    if (said?.status === "False" && said.message === message) return;
    events.record({ about: pod, type: "Warning", reason: "FailedScheduling", message });
    await say(pod, { status: "False", reason: "Unschedulable", message }, signal);
  };

  const say = async (
    pod: Pod,
    condition: { status: "True" | "False"; reason?: string; message?: string },
    signal: AbortSignal,
  ) => {
    const lastTransitionTime = nowText(clock);
    const conditions = withCondition(pod.status?.conditions, {
      type: "PodScheduled",
      ...condition,
      lastTransitionTime,
    });
    const result = await resources.update(
      podKind,
      { ...pod, status: { ...pod.status, conditions } },
      { fieldManager, signal, subresource: "status" },
    );
    // The pod's node may have written first: what it says matters more, and the condition is no promise.
    written(
      result,
      `pod ${keyOf(pod)}`,
      condition.status === "True" ? ["not-found", "conflict"] : ["not-found"],
    );
  };

  const loop = createLoop(context, reconcile, { name: "scheduler", workers: 1 });
  const roomChanged = () => {
    if (unschedulable.size > 0) loop.addAfter(retryKey, retryMs);
  };
  caches.pods.onChange(({ key, object, previous }) => {
    if (object) usage.put(object);
    else if (previous) usage.remove(previous);
    if (object && !object.spec.nodeName) loop.add(key);
    if (!object) unschedulable.delete(key);
    const freed = previous?.spec.nodeName && (!object || hasEnded(object));
    if (freed) roomChanged();
  });
  caches.nodes.onChange(({ key, object, previous }) => {
    // Pods that were seen before their node were counted without their ports.
    if (object && !previous) for (const pod of caches.pods.byIndex("node", key)) usage.put(pod);
    if (object) roomChanged();
  });
  const unsubscribe = verdicts.onChange(roomChanged);
  return {
    loops: [loop],
    stop: unsubscribe,
    seed() {
      for (const pod of caches.pods.all()) if (!pod.spec.nodeName) loop.add(keyOf(pod));
    },
  };
}

/** No pod's key: these have a slash. */
const retryKey = "retry";

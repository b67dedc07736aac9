/** Pods bound to a node that is no more: nobody will ever confirm their end, so they go at once. */
import { nodeKind, podKind } from "../../api/index.ts";
import type { Context, Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { deleteThis } from "../loop/removal.ts";
import { keyOf } from "../objects.ts";

/** A node that is deleted and registers anew at once keeps its pods. */
const quarantineMs = 5000;

export function createPodCollector(context: Context): Controller {
  const { resources, caches, clock, events } = context;
  const missingSinceMs = new Map<string, number>();

  const reconcile = async (key: string, signal: AbortSignal) => {
    const pod = caches.pods.get(key);
    const name = pod?.spec.nodeName;
    if (!pod || !name || caches.nodes.get(name)) return undefined;
    const sinceMs = missingSinceMs.get(name) ?? clock.monotonicMs();
    missingSinceMs.set(name, sinceMs);
    const waitMs = sinceMs + quarantineMs - clock.monotonicMs();
    if (waitMs > 0) return { againMs: waitMs };
    if (await resources.get(nodeKind, { name }, { signal })) return { againMs: quarantineMs };
    if (!(await deleteThis(resources, podKind, pod, { signal, gracePeriodSeconds: 0 })))
      return undefined;
    const message = `Removed: its node ${name} is not part of the cell any more`;
    events.record({ about: pod, type: "Warning", reason: "NodeGone", message });
    return undefined;
  };

  const loop = createLoop(context, reconcile, { name: "pod-garbage", workers: 2 });
  caches.nodes.onChange(({ key, object }) => {
    if (object) missingSinceMs.delete(key);
    else for (const pod of caches.pods.byIndex("node", key)) loop.add(keyOf(pod));
  });
  caches.pods.onChange(({ key, object, previous }) => {
    const bound = object?.spec.nodeName;
    if (bound && bound !== previous?.spec.nodeName && !caches.nodes.get(bound)) loop.add(key);
  });
  return {
    loops: [loop],
    seed() {
      for (const pod of caches.pods.all())
        if (pod.spec.nodeName && !caches.nodes.get(pod.spec.nodeName)) loop.add(keyOf(pod));
    },
  };
}

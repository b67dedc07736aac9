/**
 * What is taken on each node, kept up with every change of a pod so that scheduling one costs no list
 * of the others. A binding that was written but not yet seen counts from the moment it was written.
 */
import type { Pod } from "../../api/index.ts";
import { controllerOf, hasEnded, keyOf, revisionOf } from "../objects.ts";
import { requestsOf, type Amounts } from "./requests.ts";

export type NodeUsage = {
  readonly requested: Readonly<Record<string, number>>;
  /** How many pods hold it, by `8080/TCP`. */
  readonly ports: ReadonlyMap<string, number>;
  /** Pods by the uid of their controller. */
  readonly podsByOwner: ReadonlyMap<string, number>;
  readonly pods: ReadonlyMap<string, Pod>;
  /** Those among them with a required anti-affinity, which also binds whoever comes later. */
  readonly withAntiAffinity: readonly Pod[];
};

type Held = {
  readonly node: string;
  readonly requests: Amounts;
  readonly ports: readonly string[];
  readonly owner: string | undefined;
  readonly revision: number;
};

type MutableUsage = {
  requested: Record<string, number>;
  ports: Map<string, number>;
  podsByOwner: Map<string, number>;
  pods: Map<string, Pod>;
  withAntiAffinity: Pod[];
};

export interface Usage {
  of(node: string): NodeUsage;
  /** What the cache shows; an older version than the one known is ignored. */
  put(pod: Pod): void;
  remove(pod: Pod): void;
  /** This scheduler wrote (or may have written) that `pod` runs on `node`. */
  assume(pod: Pod, node: string): void;
  /** Whether a newer version of the pod than this one is known to have its place. */
  isAhead(pod: Pod): boolean;
}

const empty: NodeUsage = {
  requested: {},
  ports: new Map(),
  podsByOwner: new Map(),
  pods: new Map(),
  withAntiAffinity: [],
};

const hasAntiAffinity = (pod: Pod) =>
  pod.spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution !== undefined;

export function createUsage(hostPorts: (pod: Pod, node: string) => readonly string[]): Usage {
  const usageByNode = new Map<string, MutableUsage>();
  const heldByPod = new Map<string, Held>();

  const count = (map: Map<string, number>, key: string, by: number) => {
    const next = (map.get(key) ?? 0) + by;
    if (next === 0) map.delete(key);
    else map.set(key, next);
  };
  const apply = (held: Held, key: string, pod: Pod | undefined) => {
    const sign = pod ? 1 : -1;
    const usage: MutableUsage = usageByNode.get(held.node) ?? {
      requested: {},
      ports: new Map(),
      podsByOwner: new Map(),
      pods: new Map(),
      withAntiAffinity: [],
    };
    usageByNode.set(held.node, usage);
    for (const [resource, amount] of Object.entries(held.requests))
      usage.requested[resource] = (usage.requested[resource] ?? 0) + sign * amount;
    for (const port of held.ports) count(usage.ports, port, sign);
    if (held.owner) count(usage.podsByOwner, held.owner, sign);
    const before = usage.pods.get(key);
    if (pod) usage.pods.set(key, pod);
    else usage.pods.delete(key);
    if (pod && hasAntiAffinity(pod)) usage.withAntiAffinity.push(pod);
    else if (before && hasAntiAffinity(before))
      usage.withAntiAffinity = usage.withAntiAffinity.filter((other) => other !== before);
    if (usage.pods.size === 0) usageByNode.delete(held.node);
  };
  const release = (key: string) => {
    const held = heldByPod.get(key);
    if (!held) return;
    heldByPod.delete(key);
    apply(held, key, undefined);
  };
  const hold = (pod: Pod, node: string) => {
    const key = keyOf(pod);
    release(key);
    const held: Held = {
      node,
      requests: requestsOf(pod),
      ports: hostPorts(pod, node),
      owner: controllerOf(pod)?.uid,
      revision: revisionOf(pod),
    };
    heldByPod.set(key, held);
    apply(held, key, pod);
  };

  return {
    of: (node) => usageByNode.get(node) ?? empty,
    put(pod) {
      const key = keyOf(pod);
      const held = heldByPod.get(key);
      if (held && held.revision > revisionOf(pod)) return;
      // A terminating pod still holds what it has until its node lets go.
      if (pod.spec.nodeName && !hasEnded(pod)) hold(pod, pod.spec.nodeName);
      else release(key);
    },
    remove: (pod) => release(keyOf(pod)),
    assume: hold,
    isAhead: (pod) => (heldByPod.get(keyOf(pod))?.revision ?? 0) > revisionOf(pod),
  };
}

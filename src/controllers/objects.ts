/** Small readings of objects that several loops share. */
import {
  apiVersionOf,
  type Condition,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
  type OwnerReference,
  type Pod,
} from "../api/index.ts";
import type { Clock } from "../lib/clock.ts";

/** `namespace/name`, or `name` for what belongs to the whole cell. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : name;
}

export function objectKey(key: string): ObjectKey {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((owner) => owner.controller);
}

export function ownedBy(kind: KindDefinition, owner: KubeObject): OwnerReference {
  return {
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    name: owner.metadata.name,
    uid: uidOf(owner),
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Every stored object has one. */
export function uidOf(object: KubeObject): string {
  return object.metadata.uid ?? "";
}

/** RFC 3339 with whole seconds, as Kubernetes writes times. */
export function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d{3}Z$/, "Z");
}

export function nowText(clock: Clock): string {
  return timeText(clock.wallMs());
}

export function createdMs(object: KubeObject): number {
  return Date.parse(object.metadata.creationTimestamp ?? "") || 0;
}

export function revisionOf(object: KubeObject): number {
  return Number(object.metadata.resourceVersion ?? 0);
}

export function isTerminating(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined;
}

export function hasEnded(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * Set by node-lifecycle while a pod's node is given up: the pod may still run there, but no longer
 * counts towards its owner's replicas. Taken back when the node returns, so that the surplus goes
 * newest first and the survivor stays.
 */
export const displacedCondition = "skerry.dev/Displaced";

/** The condition's reason once the node is back. */
export const returnedReason = "NodeReturned";

export function isDisplaced(pod: Pod): boolean {
  return conditionOf(pod.status?.conditions, displacedCondition)?.status === "True";
}

/** Counts towards its owner's replicas. */
export function isActive(pod: Pod): boolean {
  return !isTerminating(pod) && !hasEnded(pod) && !isDisplaced(pod);
}

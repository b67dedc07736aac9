/** Whether a node can take a pod, and if not why, in words. Pure. */
import {
  hostnameLabel,
  matchesLabels,
  type Node,
  type NodeSelectorTerm,
  type Pod,
  type Taint,
  type Toleration,
} from "../../api/index.ts";
import type { Drivers } from "../ports.ts";
import { conditionOf, isActive } from "../objects.ts";
import { allocatableOf, requestsOf, showAmount } from "./requests.ts";
import type { NodeUsage } from "./usage.ts";

export type Candidate = {
  readonly node: Node;
  readonly usage: NodeUsage;
  /** Nobody has heard of it since this leader began: what its Node says is of before. */
  readonly unheard?: boolean;
};

/** The first thing that speaks against the node; undefined when nothing does. */
export function obstacle(
  pod: Pod,
  candidate: Candidate,
  candidates: readonly Candidate[],
  drivers: Drivers,
): string | undefined {
  const { node, usage } = candidate;
  if (node.metadata.deletionTimestamp) return "the node is being removed";
  if (node.spec?.unschedulable) return "the node is cordoned";
  const ready = conditionOf(node.status?.conditions, "Ready");
  if (ready && ready.status !== "True")
    return `the node is not ready (${ready.reason ?? ready.status})`;
  if (candidate.unheard) return "the node has not been heard of yet";
  const taint = (node.spec?.taints ?? []).find(
    (entry) => entry.effect !== "PreferNoSchedule" && !tolerates(pod.spec.tolerations, entry),
  );
  if (taint) return `the node has the taint ${showTaint(taint)}, which the pod does not tolerate`;
  return (
    labelObstacle(pod, node) ??
    driverObstacle(pod, node, drivers) ??
    portObstacle(pod, candidate, drivers) ??
    resourceObstacle(pod, node, usage) ??
    neighbourObstacle(pod, candidate, candidates)
  );
}

export function tolerates(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return (tolerations ?? []).some((toleration) => toleratesOne(toleration, taint));
}

/** Kubernetes `Toleration.ToleratesTaint`: an empty key with Exists tolerates everything. */
export function toleratesOne(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  const exists = toleration.operator === "Exists";
  if (!toleration.key) return exists;
  if (toleration.key !== taint.key) return false;
  return exists || (toleration.value ?? "") === (taint.value ?? "");
}

const showTaint = ({ key, value, effect }: Taint) => `${key}${value ? `=${value}` : ""}:${effect}`;

function labelObstacle(pod: Pod, node: Node): string | undefined {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {}))
    if (labels[key] !== value) return `the node has not the label ${key}=${value}`;
  const terms =
    pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
      ?.nodeSelectorTerms;
  if (terms && !terms.some((term) => matchesTerm(term, node)))
    return "the node does not match the pod's node affinity";
  return undefined;
}

export function matchesTerm(term: NodeSelectorTerm, node: Node): boolean {
  const labels = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (labels.length + fields.length === 0) return false;
  return (
    labels.every((entry) => holds(entry, node.metadata.labels?.[entry.key])) &&
    fields.every((entry) =>
      holds(entry, entry.key === "metadata.name" ? node.metadata.name : undefined),
    )
  );
}

function holds(
  { operator, values = [] }: { operator: string; values?: string[] },
  value: string | undefined,
): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return false;
  }
}

function driverObstacle(pod: Pod, node: Node, drivers: Drivers): string | undefined {
  const wanted = pod.spec.runtimeClassName;
  return drivers.offers(node, wanted)
    ? undefined
    : `the node has no driver for runtimeClassName ${wanted ?? "(default)"}`;
}

function portObstacle(pod: Pod, { node, usage }: Candidate, drivers: Drivers): string | undefined {
  const taken = drivers.hostPorts(pod, node).filter((port) => usage.ports.has(port));
  return taken.length > 0 ? `port ${taken.join(", ")} is taken there` : undefined;
}

function resourceObstacle(pod: Pod, node: Node, usage: NodeUsage): string | undefined {
  const allocatable = allocatableOf(node);
  for (const [resource, asked] of Object.entries(requestsOf(pod))) {
    if (asked === 0) continue;
    const has = allocatable[resource] ?? 0;
    const free = has - (usage.requested[resource] ?? 0);
    if (asked <= free) continue;
    if (resource === "pods") return `the node runs its ${has} pods already`;
    const show = (amount: number) => showAmount(resource, Math.max(0, amount));
    return `not enough ${resource}: the pod asks for ${show(asked)}, ${show(free)} of ${show(has)} is free`;
  }
  return undefined;
}

type Term = {
  topologyKey: string;
  labelSelector?: Parameters<typeof matchesLabels>[0];
  namespaces?: string[];
};

/** Required pod affinity and anti-affinity, of the pod and, as Kubernetes does, of those already there. */
function neighbourObstacle(
  pod: Pod,
  candidate: Candidate,
  candidates: readonly Candidate[],
): string | undefined {
  const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
  const required = (
    rules: { requiredDuringSchedulingIgnoredDuringExecution?: Term[] } | undefined,
  ) => rules?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const domain = (term: Term) => inDomain(term, candidate, candidates);
  for (const term of required(podAntiAffinity)) {
    const other = domain(term).find((there) => selects(term, pod, there));
    if (other) return `pod ${other.metadata.name} is there, which the pod's anti-affinity excludes`;
  }
  for (const term of required(podAffinity)) {
    const found = domain(term).some((there) => selects(term, pod, there));
    // The first of a group that wants to be together may start anywhere.
    const first =
      selects(term, pod, pod) &&
      !candidates.some(({ usage }) =>
        [...usage.pods.values()].some((there) => selects(term, pod, there)),
      );
    if (!found && !first) return "no pod that the pod's affinity asks for is there";
  }
  for (const there of candidates.flatMap(({ usage }) => usage.withAntiAffinity)) {
    for (const term of required(there.spec.affinity?.podAntiAffinity)) {
      if (selects(term, there, pod) && domain(term).includes(there))
        return `pod ${there.metadata.name} is there, whose anti-affinity excludes this one`;
    }
  }
  return undefined;
}

function inDomain(term: Term, { node }: Candidate, candidates: readonly Candidate[]): Pod[] {
  const value = topologyOf(node, term.topologyKey);
  if (value === undefined) return [];
  return candidates
    .filter((other) => topologyOf(other.node, term.topologyKey) === value)
    .flatMap(({ usage }) => [...usage.pods.values()]);
}

/** A node without the hostname label is a place of its own all the same. */
function topologyOf(node: Node, key: string): string | undefined {
  return node.metadata.labels?.[key] ?? (key === hostnameLabel ? node.metadata.name : undefined);
}

function selects(term: Term, owner: Pod, other: Pod): boolean {
  if (other !== owner && !isActive(other)) return false;
  const namespaces = term.namespaces ?? [owner.metadata.namespace ?? ""];
  return (
    namespaces.includes(other.metadata.namespace ?? "") &&
    term.labelSelector !== undefined &&
    matchesLabels(term.labelSelector, other.metadata.labels)
  );
}

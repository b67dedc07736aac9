/**
 * One pod, all nodes: which one takes it, or why none does. Pure. Cost: nodes × (the pod's own rules);
 * other pods are looked at only by pods with affinities.
 */
import type { Pod } from "../../api/index.ts";
import type { Drivers } from "../ports.ts";
import { controllerOf } from "../objects.ts";
import { matchesTerm, obstacle, tolerates, type Candidate } from "./filter.ts";
import { allocatableOf, requestsOf } from "./requests.ts";

export type Placement =
  | { readonly state: "placed"; readonly node: string }
  /** `message`: for a person, each reason with the nodes it holds for. */
  | { readonly state: "unschedulable"; readonly message: string };

export function placePod(pod: Pod, candidates: readonly Candidate[], drivers: Drivers): Placement {
  const reasons = new Map<string, string[]>();
  let best: { name: string; score: readonly number[] } | undefined;
  for (const candidate of candidates) {
    const { name } = candidate.node.metadata;
    const reason = obstacle(pod, candidate, candidates, drivers);
    if (reason !== undefined) {
      reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
      continue;
    }
    const score = scoreOf(pod, candidate);
    if (!best || isBetter(score, name, best)) best = { name, score };
  }
  if (best) return { state: "placed", node: best.name };
  return { state: "unschedulable", message: tell(candidates.length, reasons) };
}

/**
 * Smaller is better, the first that differs decides: unwanted taints, unmet preferences, pods of the
 * same owner already there, how full it would be, how many pods it has.
 */
export function scoreOf(pod: Pod, { node, usage }: Candidate): readonly number[] {
  const taints = (node.spec?.taints ?? []).filter(
    (taint) => taint.effect === "PreferNoSchedule" && !tolerates(pod.spec.tolerations, taint),
  );
  const preferences =
    pod.spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  const preferred = preferences
    .filter(({ preference }) => matchesTerm(preference, node))
    .reduce((sum, { weight }) => sum + weight, 0);
  const owner = controllerOf(pod)?.uid;
  const allocatable = allocatableOf(node);
  const requests = requestsOf(pod);
  const fullness = ["cpu", "memory"].map((resource) => {
    const has = allocatable[resource] ?? 0;
    return has === 0 ? 1 : ((usage.requested[resource] ?? 0) + (requests[resource] ?? 0)) / has;
  });
  return [
    taints.length,
    -preferred,
    owner ? (usage.podsByOwner.get(owner) ?? 0) : 0,
    Math.max(...fullness),
    usage.pods.size,
  ];
}

function isBetter(
  score: readonly number[],
  name: string,
  best: { name: string; score: readonly number[] },
): boolean {
  for (const [index, value] of score.entries()) {
    const other = best.score[index] ?? 0;
    if (value !== other) return value < other;
  }
  return name < best.name;
}

const namesMax = 4;
const reasonsMax = 6;

function tell(nodes: number, reasons: ReadonlyMap<string, readonly string[]>): string {
  if (nodes === 0) return "there is no node in the cell";
  const parts = [...reasons].slice(0, reasonsMax).map(([reason, names]) => {
    const more = names.length > namesMax ? ` and ${names.length - namesMax} more` : "";
    return `${names.slice(0, namesMax).join(", ")}${more}: ${reason}`;
  });
  if (reasons.size > reasonsMax) parts.push(`and ${reasons.size - reasonsMax} other reasons`);
  return `0 of ${nodes} nodes can take the pod. ${parts.join(". ")}`;
}

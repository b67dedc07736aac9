/** What a deployment's status says: the fields that `kubectl rollout status` waits for. Pure. */
import { sameValue, withCondition, type Condition, type Deployment } from "../../api/index.ts";
import { conditionOf, timeText } from "../objects.ts";
import { bounds, findNewest, type DeploymentView } from "./plan.ts";

export type StatusPlan = {
  readonly status: NonNullable<Deployment["status"]>;
  readonly changed: boolean;
  /** When the progress deadline may pass. */
  readonly againMs: number | undefined;
};

export function planStatus(view: DeploymentView, nowMs: number): StatusPlan {
  const { deployment, sets } = view;
  const before = deployment.status ?? {};
  const newest = findNewest(deployment, sets);
  const sum = (field: "active" | "ready" | "available" | "existing") =>
    sets.reduce((total, set) => total + set[field], 0);
  const wanted = deployment.spec.replicas ?? 1;
  const counts = {
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas: sum("active"),
    updatedReplicas: newest?.active ?? 0,
    readyReplicas: sum("ready"),
    availableReplicas: sum("available"),
    unavailableReplicas: Math.max(0, Math.max(wanted, sum("active")) - sum("available")),
    terminatingReplicas: Math.max(0, sum("existing") - sum("active")),
  };
  const complete =
    newest !== undefined &&
    counts.updatedReplicas === wanted &&
    counts.replicas === wanted &&
    counts.availableReplicas >= wanted;
  const availability = availabilityOf(deployment, counts.availableReplicas, nowMs);
  const progress = progressOf(
    deployment,
    counts,
    newest?.replicaSet.metadata.name,
    complete,
    nowMs,
  );
  let conditions = withCondition(before.conditions, availability);
  if (progress) conditions = withCondition(conditions, progress);
  const status = { ...before, ...counts, conditions };
  return {
    status,
    changed: !sameValue(status, before),
    againMs: complete ? undefined : deadlineInMs(deployment, progress, nowMs),
  };
}

type Timed = Condition & { lastTransitionTime: string };

function availabilityOf(deployment: Deployment, available: number, nowMs: number): Timed {
  const least = (deployment.spec.replicas ?? 1) - bounds(deployment).unavailable;
  const enough = available >= least;
  const before = conditionOf(deployment.status?.conditions, "Available");
  const now = timeText(nowMs);
  const status = enough ? "True" : "False";
  return {
    type: "Available",
    status,
    reason: enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
    message: enough
      ? "Deployment has minimum availability."
      : "Deployment does not have minimum availability.",
    lastUpdateTime: before?.status === status ? (before.lastUpdateTime ?? now) : now,
    lastTransitionTime: now,
  };
}

/** `lastUpdateTime` is when something last got better; the deadline counts from there. */
function progressOf(
  deployment: Deployment,
  counts: {
    updatedReplicas: number;
    readyReplicas: number;
    availableReplicas: number;
    replicas: number;
  },
  name: string | undefined,
  complete: boolean,
  nowMs: number,
): Timed | undefined {
  const now = timeText(nowMs);
  const before = conditionOf(deployment.status?.conditions, "Progressing");
  const make = (status: "True" | "False" | "Unknown", reason: string, message: string): Timed => ({
    type: "Progressing",
    status,
    reason,
    message,
    lastUpdateTime:
      before?.reason === reason && !(reason === "ReplicaSetUpdated" && better)
        ? (before.lastUpdateTime ?? now)
        : now,
    lastTransitionTime: now,
  });
  const last = deployment.status ?? {};
  const oldNow = counts.replicas - counts.updatedReplicas;
  const oldBefore = (last.replicas ?? 0) - (last.updatedReplicas ?? 0);
  const better =
    counts.updatedReplicas > (last.updatedReplicas ?? 0) ||
    counts.readyReplicas > (last.readyReplicas ?? 0) ||
    counts.availableReplicas > (last.availableReplicas ?? 0) ||
    oldNow < oldBefore;
  const set = name ? `ReplicaSet "${name}"` : "ReplicaSet";

  if (deployment.spec.paused) return make("Unknown", "DeploymentPaused", "Deployment is paused");
  if (complete)
    return make("True", "NewReplicaSetAvailable", `${set} has successfully progressed.`);
  if (better || !before) return make("True", "ReplicaSetUpdated", `${set} is progressing.`);
  const specChanged = (last.observedGeneration ?? 0) !== (deployment.metadata.generation ?? 0);
  if (specChanged)
    return { ...make("True", "ReplicaSetUpdated", `${set} is progressing.`), lastUpdateTime: now };
  if (before.reason === "DeploymentPaused")
    return make("Unknown", "DeploymentResumed", "Deployment is resumed");
  // A finished rollout whose pods fail later is not a rollout that misses its deadline.
  if (before.reason === "NewReplicaSetAvailable") return undefined;
  const limitMs = (deployment.spec.progressDeadlineSeconds ?? 600) * 1000;
  const sinceMs = Date.parse(before.lastUpdateTime ?? "");
  if (nowMs - sinceMs >= limitMs)
    return make("False", "ProgressDeadlineExceeded", `${set} has timed out progressing.`);
  return undefined;
}

function deadlineInMs(
  deployment: Deployment,
  progress: Condition | undefined,
  nowMs: number,
): number | undefined {
  const current = progress ?? conditionOf(deployment.status?.conditions, "Progressing");
  if (current?.status !== "True" || current.reason === "NewReplicaSetAvailable") return undefined;
  const limitMs = (deployment.spec.progressDeadlineSeconds ?? 600) * 1000;
  return Math.max(1000, Date.parse(current.lastUpdateTime ?? "") + limitMs - nowMs);
}

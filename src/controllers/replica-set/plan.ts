/** ReplicaSet: its pods as they are, and what to do so that the asked number of them counts. Pure. */
import {
  conditionIsTrue,
  matchesLabels,
  onPartitionOf,
  withCondition,
  type Pod,
  type ReplicaSet,
} from "../../api/index.ts";
import {
  conditionOf,
  controllerOf,
  createdMs,
  displacedCondition,
  hasEnded,
  isActive,
  isTerminating,
  returnedReason,
  timeText,
} from "../objects.ts";

export type ReplicaSetView = {
  readonly replicaSet: ReplicaSet;
  /** Its pods, with what this controller wrote and the cache has not shown yet already in it. */
  readonly owned: readonly Pod[];
  /** Pods of the namespace without a controller. */
  readonly orphans: readonly Pod[];
  readonly nowMs: number;
};

export type ReplicaSetPlan = {
  readonly create: number;
  readonly remove: readonly Pod[];
  readonly adopt: readonly Pod[];
  readonly release: readonly Pod[];
  /** Undefined: it stands already. */
  readonly status: ReplicaSet["status"] | undefined;
  /** When the same view may give another plan. */
  readonly againMs: number | undefined;
};

/** A pod that failed holds its place this long: what fails at once must not be made again at once. */
const failedHoldMs = 10_000;
/** At most so many pods in one go; the rest follows when these are seen. */
const burstMax = 100;

export function planReplicaSet(view: ReplicaSetView): ReplicaSetPlan {
  const { replicaSet, nowMs } = view;
  const wanted = replicaSet.spec.replicas ?? 1;
  const matches = (pod: Pod) => matchesLabels(replicaSet.spec.selector, pod.metadata.labels);
  const mine = view.owned.filter(matches);
  const release = view.owned.filter((pod) => !matches(pod) && !isTerminating(pod));
  const adopt = isTerminating(replicaSet)
    ? []
    : view.orphans.filter((pod) => matches(pod) && isActive(pod));

  const active = mine.filter(isActive);
  const ended = mine.filter((pod) => hasEnded(pod) && !isTerminating(pod));
  const holding = ended.filter((pod) => nowMs - endedMs(pod) < failedHoldMs);
  const removeEnded = ended.filter((pod) => !holding.includes(pod));

  // Of what runs at most once nothing is started beside what may still run, however it is called.
  const isSingle = onPartitionOf(replicaSet.spec.template) === "stop";
  const lingering = isSingle ? mine.filter((pod) => !hasEnded(pod) && !isActive(pod)) : [];

  const surplus = active.length + adopt.length - wanted;
  const missing = Math.max(0, -surplus - holding.length - lingering.length);
  const doomed = surplus > 0 ? [...active, ...adopt].sort(doomedFirst).slice(0, surplus) : [];
  const again = [
    ...holding.map((pod) => failedHoldMs - (nowMs - endedMs(pod))),
    ...active.flatMap(
      (pod) => availableInMs(pod, replicaSet.spec.minReadySeconds ?? 0, nowMs) ?? [],
    ),
  ].filter((ms) => ms > 0);

  return isTerminating(replicaSet)
    ? { create: 0, remove: [], adopt: [], release: [], status: undefined, againMs: undefined }
    : {
        create: Math.min(missing, burstMax),
        remove: [...removeEnded, ...doomed].filter((pod) => controllerOf(pod) !== undefined),
        adopt,
        release,
        status: statusOf(view, active),
        againMs: again.length > 0 ? Math.min(...again) : undefined,
      };
}

/**
 * Whom to lose first (after kubernetes `ActivePodsWithRanks`): not on a node, not running, not ready,
 * then the newest, so that a pod which survived a partition outlives its replacement.
 */
export function doomedFirst(a: Pod, b: Pod): number {
  const rank = (pod: Pod) =>
    !pod.spec.nodeName ? 0 : pod.status?.phase !== "Running" ? 1 : !isReady(pod) ? 2 : 3;
  return (
    rank(a) - rank(b) ||
    createdMs(b) - createdMs(a) ||
    // Created within one second: what outlived a partition is the older.
    Number(hasReturned(a)) - Number(hasReturned(b)) ||
    (a.metadata.name < b.metadata.name ? -1 : 1)
  );
}

const hasReturned = (pod: Pod) =>
  conditionOf(pod.status?.conditions, displacedCondition)?.reason === returnedReason;

const isReady = (pod: Pod) => conditionIsTrue(pod.status?.conditions, "Ready");

/** 0 when it is available, milliseconds until it will be, undefined while it is not ready. */
export function availableInMs(
  pod: Pod,
  minReadySeconds: number,
  nowMs: number,
): number | undefined {
  if (!isReady(pod)) return undefined;
  if (minReadySeconds === 0) return 0;
  const sinceMs = Date.parse(
    conditionOf(pod.status?.conditions, "Ready")?.lastTransitionTime ?? "",
  );
  if (Number.isNaN(sinceMs)) return minReadySeconds * 1000;
  return Math.max(0, sinceMs + minReadySeconds * 1000 - nowMs);
}

function endedMs(pod: Pod): number {
  const times = (pod.status?.containerStatuses ?? []).map((status) =>
    Date.parse(status.state?.terminated?.finishedAt ?? ""),
  );
  const last = Math.max(...times.filter((ms) => !Number.isNaN(ms)));
  return Number.isFinite(last) ? last : createdMs(pod);
}

function statusOf(view: ReplicaSetView, active: readonly Pod[]): ReplicaSet["status"] | undefined {
  const { replicaSet, nowMs } = view;
  const minReadySeconds = replicaSet.spec.minReadySeconds ?? 0;
  const labels = Object.entries(replicaSet.spec.template.metadata?.labels ?? {});
  const next = {
    ...replicaSet.status,
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) =>
      labels.every(([key, value]) => pod.metadata.labels?.[key] === value),
    ).length,
    readyReplicas: active.filter(isReady).length,
    availableReplicas: active.filter((pod) => availableInMs(pod, minReadySeconds, nowMs) === 0)
      .length,
    terminatingReplicas: view.owned.filter(isTerminating).length,
    observedGeneration: replicaSet.metadata.generation ?? 0,
  };
  const before = replicaSet.status ?? {};
  const changed = (Object.keys(next) as (keyof typeof next)[]).some(
    (field) => next[field] !== before[field],
  );
  return changed ? next : undefined;
}

/** `ReplicaFailure` as Kubernetes shows it: the last creation was refused for good. */
export function withFailure(
  status: ReplicaSet["status"],
  message: string | undefined,
  nowMs: number,
): NonNullable<ReplicaSet["status"]> {
  const others = (status?.conditions ?? []).filter(({ type }) => type !== "ReplicaFailure");
  if (message === undefined) return { ...status, conditions: others };
  return {
    ...status,
    conditions: withCondition(status?.conditions, {
      type: "ReplicaFailure",
      status: "True",
      reason: "FailedCreate",
      message,
      lastTransitionTime: timeText(nowMs),
    }),
  };
}

/** A pod of the template, owned by the replica set, under `name`. */
export function podFor(
  replicaSet: ReplicaSet,
  owner: Pod["metadata"]["ownerReferences"],
  name: string,
): Pod {
  const { metadata, spec } = structuredClone(replicaSet.spec.template);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: replicaSet.metadata.namespace,
      ...(metadata?.labels ? { labels: metadata.labels } : {}),
      ...(metadata?.annotations ? { annotations: metadata.annotations } : {}),
      ownerReferences: owner,
    },
    spec,
  };
}

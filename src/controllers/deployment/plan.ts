/**
 * Deployment: one replica set per template, and how the newest takes over. Pure. Bounds hold at every
 * step, however far the replica sets lag: pods that exist or are asked for never exceed replicas plus
 * surge, and pods that are available and not doomed never fall below replicas less unavailable by
 * this plan's doing.
 */
import {
  deploymentKind,
  deploymentRevisionAnnotation,
  onPartitionAnnotation,
  onPartitionOf,
  podTemplateHashLabel,
  sameValue,
  stable,
  type Deployment,
  type PodTemplate,
  type ReplicaSet,
} from "../../api/index.ts";
import { hashText } from "../events/plan.ts";
import { createdMs, isTerminating, ownedBy } from "../objects.ts";

/** A replica set and its pods as the cache shows them. */
export type OwnedSet = {
  readonly replicaSet: ReplicaSet;
  /** Pods that count. */
  readonly active: number;
  readonly ready: number;
  readonly available: number;
  /** Every pod that may still run somewhere: terminating and displaced ones too. */
  readonly existing: number;
};

export type DeploymentView = {
  readonly deployment: Deployment;
  readonly sets: readonly OwnedSet[];
};

export type DeploymentStep =
  | { readonly do: "create"; readonly replicaSet: ReplicaSet }
  | { readonly do: "scale"; readonly replicaSet: ReplicaSet; readonly to: number }
  | { readonly do: "revise"; readonly replicaSet: ReplicaSet; readonly revision: number }
  | { readonly do: "delete"; readonly replicaSet: ReplicaSet };

export type DeploymentPlan = {
  readonly steps: readonly DeploymentStep[];
  /** Of the replica set of the current template. */
  readonly revision: number;
};

export function planDeployment(view: DeploymentView): DeploymentPlan {
  const { deployment, sets } = view;
  if (isTerminating(deployment)) return { steps: [], revision: 0 };
  const newest = findNewest(deployment, sets);
  const old = sets.filter((set) => set !== newest);
  const revision = revisionFor(newest, old);
  const replicas = deployment.spec.replicas ?? 1;
  const steps: DeploymentStep[] = [];

  if (deployment.spec.paused) {
    const running = sets.filter((set) => spec(set) > 0);
    const only = running.length === 1 ? running[0] : running.length === 0 ? newest : undefined;
    if (only) steps.push(...scale(only, replicas));
    return { steps, revision: newest ? revision : Math.max(0, revision - 1) };
  }

  const rolling = deployment.spec.strategy?.type !== "Recreate";
  const room = rolling ? roomForNew(replicas, deployment, old) : roomAfterOld(replicas, old);
  const to = Math.min(replicas, Math.max(newest ? spec(newest) : 0, room));
  if (newest) {
    steps.push(...scale(newest, to));
    if (Number(annotation(newest.replicaSet)) !== revision)
      steps.push({ do: "revise", replicaSet: newest.replicaSet, revision });
  } else {
    steps.push({ do: "create", replicaSet: setFor(deployment, to, revision) });
  }
  steps.push(
    ...(rolling
      ? shrinkOld(replicas, deployment, newest && Math.min(to, newest.available), old)
      : old.flatMap((set) => scale(set, 0))),
  );
  steps.push(...forgetOldest(deployment, old));
  return { steps, revision };
}

/** How many pods the newest set may ask for now, within the surge. */
function roomForNew(replicas: number, deployment: Deployment, old: readonly OwnedSet[]): number {
  const { surge } = bounds(deployment);
  // What runs at most once counts for as long as it may run at all.
  const counted = (set: OwnedSet) => (isSingle(deployment) ? set.existing : set.active);
  const others = old.reduce((sum, set) => sum + Math.max(spec(set), counted(set)), 0);
  return Math.min(replicas, replicas + surge - others);
}

/** Recreate: nothing new while anything old may run, cut-off nodes included. */
function roomAfterOld(replicas: number, old: readonly OwnedSet[]): number {
  return old.some((set) => spec(set) > 0 || set.existing > 0) ? 0 : replicas;
}

function shrinkOld(
  replicas: number,
  deployment: Deployment,
  servingNew: number | undefined,
  old: readonly OwnedSet[],
): DeploymentStep[] {
  const { unavailable } = bounds(deployment);
  // What is available and not already asked to go.
  const serving = (set: OwnedSet) => Math.min(spec(set), set.available);
  const servingNow = old.reduce((sum, set) => sum + serving(set), servingNew ?? 0);
  let mayGo = servingNow - (replicas - unavailable);
  const steps: DeploymentStep[] = [];
  for (const set of [...old].sort((a, b) => createdMs(a.replicaSet) - createdMs(b.replicaSet))) {
    if (spec(set) === 0) continue;
    // Those that serve nobody go first and cost nothing.
    const healthy = Math.max(0, Math.min(serving(set), mayGo));
    mayGo -= healthy;
    steps.push(...scale(set, serving(set) - healthy));
  }
  return steps;
}

/** Old sets without pods beyond the history limit, oldest revision first. */
function forgetOldest(deployment: Deployment, old: readonly OwnedSet[]): DeploymentStep[] {
  const idle = old
    .filter((set) => spec(set) === 0 && set.existing === 0 && !isTerminating(set.replicaSet))
    .sort((a, b) => Number(annotation(a.replicaSet)) - Number(annotation(b.replicaSet)));
  const surplus = idle.length - (deployment.spec.revisionHistoryLimit ?? 10);
  return idle
    .slice(0, Math.max(0, surplus))
    .map(({ replicaSet }) => ({ do: "delete", replicaSet }));
}

const isSingle = (deployment: Deployment) => onPartitionOf(deployment.spec.template) === "stop";

/**
 * Whole pods; percentages of surge round up, of unavailable down, and both are never zero. What runs at
 * most once knows no surge.
 */
export function bounds(deployment: Deployment): { surge: number; unavailable: number } {
  const replicas = deployment.spec.replicas ?? 1;
  const { maxSurge = "25%", maxUnavailable = "25%" } =
    deployment.spec.strategy?.rollingUpdate ?? {};
  const surge = isSingle(deployment) ? 0 : pods(maxSurge, replicas, Math.ceil);
  const unavailable = Math.min(replicas, pods(maxUnavailable, replicas, Math.floor));
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

function pods(value: number | string, replicas: number, round: (value: number) => number): number {
  if (typeof value === "number") return value;
  return round((Number.parseInt(value, 10) * replicas) / 100);
}

const spec = (set: OwnedSet) => set.replicaSet.spec.replicas ?? 1;
const annotation = (set: ReplicaSet) =>
  set.metadata.annotations?.[deploymentRevisionAnnotation] ?? "0";

function scale(set: OwnedSet, to: number): DeploymentStep[] {
  return spec(set) === to ? [] : [{ do: "scale", replicaSet: set.replicaSet, to }];
}

export function findNewest(
  deployment: Deployment,
  sets: readonly OwnedSet[],
): OwnedSet | undefined {
  const wanted = bare(deployment.spec.template, deployment);
  return sets
    .filter(({ replicaSet }) => !isTerminating(replicaSet))
    .sort((a, b) => createdMs(a.replicaSet) - createdMs(b.replicaSet))
    .find(({ replicaSet }) => sameValue(bare(replicaSet.spec.template, deployment), wanted));
}

/** The template without what this controller added to it. */
function bare(template: PodTemplate, deployment: Deployment): unknown {
  const labels = { ...template.metadata?.labels };
  delete labels[podTemplateHashLabel];
  const annotations = { ...template.metadata?.annotations };
  if (!deployment.spec.template.metadata?.annotations?.[onPartitionAnnotation])
    delete annotations[onPartitionAnnotation];
  return { labels, annotations, spec: template.spec };
}

function revisionFor(newest: OwnedSet | undefined, old: readonly OwnedSet[]): number {
  const highest = Math.max(0, ...old.map((set) => Number(annotation(set.replicaSet))));
  const own = newest ? Number(annotation(newest.replicaSet)) : 0;
  return own > highest ? own : highest + 1;
}

/** Kubernetes' limit for names, less the dash and the hash. */
const baseLengthMax = 244;

/** The replica set of the current template; its name is the same whoever makes it. */
export function setFor(deployment: Deployment, replicas: number, revision: number): ReplicaSet {
  const template = structuredClone(deployment.spec.template);
  const hash = hashText(
    stable([bare(template, deployment), deployment.status?.collisionCount ?? 0]),
  );
  const labels = { ...template.metadata?.labels, [podTemplateHashLabel]: hash };
  const annotations = { ...template.metadata?.annotations };
  // Two copies at once are what Recreate was chosen against (DESIGN rule F).
  if (deployment.spec.strategy?.type === "Recreate") annotations[onPartitionAnnotation] ??= "stop";
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name: `${deployment.metadata.name.slice(0, baseLengthMax)}-${hash}`,
      namespace: deployment.metadata.namespace,
      labels,
      annotations: { [deploymentRevisionAnnotation]: String(revision) },
      ownerReferences: [ownedBy(deploymentKind, deployment)],
    },
    spec: {
      replicas,
      minReadySeconds: deployment.spec.minReadySeconds ?? 0,
      selector: {
        ...deployment.spec.selector,
        matchLabels: { ...deployment.spec.selector.matchLabels, [podTemplateHashLabel]: hash },
      },
      template: {
        ...template,
        metadata: {
          labels,
          ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
        },
      },
    },
  };
}

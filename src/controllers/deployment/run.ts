/** Runs the plan for deployments. */
import {
  deploymentKind,
  deploymentRevisionAnnotation,
  matchesLabels,
  replicaSetKind,
  type Deployment,
  type ReplicaSet,
} from "../../api/index.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import {
  conditionOf,
  controllerOf,
  hasEnded,
  isActive,
  isTerminating,
  keyOf,
  objectKey,
  ownedBy,
  revisionOf,
  uidOf,
} from "../objects.ts";
import { availableInMs } from "../replica-set/plan.ts";
import { planDeployment, type DeploymentStep, type OwnedSet } from "./plan.ts";
import { planStatus } from "./status.ts";

export function createDeploymentController(context: Context): Controller {
  const { resources, caches, clock, events } = context;
  /** By replica set uid: the revision of this controller's last write to it. */
  const writtenRevisions = new Map<string, number>();

  const reconcile = async (key: string, signal: AbortSignal) => {
    const deployment = caches.deployments.get(key);
    if (!deployment) return undefined;
    const uid = uidOf(deployment);
    await adoptOrphans(deployment, signal);
    const owned = caches.replicaSets
      .byIndex("owner", uid)
      .filter((set) => controllerOf(set)?.uid === uid);
    // Planning on a set that lags behind our own write could count its pods twice.
    if (owned.some((set) => (writtenRevisions.get(uidOf(set)) ?? 0) > revisionOf(set)))
      return { againMs: 50 };

    const view = { deployment, sets: owned.map(countPods) };
    const plan = planDeployment(view);
    for (const step of plan.steps) await take(deployment, step, signal);

    const current = (await noteRevision(deployment, plan.revision, signal)) ?? deployment;
    const status = planStatus(view, clock.wallMs());
    if (status.changed && !isTerminating(deployment)) {
      tellDeadline(deployment, status.status);
      const result = await resources.update(
        deploymentKind,
        { ...current, status: status.status },
        { fieldManager, signal, subresource: "status" },
      );
      written(result, `deployment ${key}`, ["not-found"]);
    }
    return status.againMs === undefined ? undefined : { againMs: status.againMs };
  };

  const countPods = (replicaSet: ReplicaSet): OwnedSet => {
    const pods = caches.pods.byIndex("owner", uidOf(replicaSet)).filter((pod) => !hasEnded(pod));
    const active = pods.filter(isActive);
    const waits = active.map((pod) =>
      availableInMs(pod, replicaSet.spec.minReadySeconds ?? 0, clock.wallMs()),
    );
    return {
      replicaSet,
      active: active.length,
      ready: waits.filter((ms) => ms !== undefined).length,
      available: waits.filter((ms) => ms === 0).length,
      existing: pods.length,
    };
  };

  const take = async (deployment: Deployment, step: DeploymentStep, signal: AbortSignal) => {
    const { replicaSet } = step;
    const what = `replica set ${keyOf(replicaSet)}`;
    switch (step.do) {
      case "create": {
        const result = await resources.create(replicaSetKind, replicaSet, { fieldManager, signal });
        if (result.state === "refused" && result.reason === "exists") {
          await resolveCollision(deployment, replicaSet, signal);
          return;
        }
        const made = written(result, what);
        if (made) tellScaled(deployment, made, 0, made.spec.replicas ?? 0);
        return;
      }
      case "scale": {
        const next = { ...replicaSet, spec: { ...replicaSet.spec, replicas: step.to } };
        const made = written(
          await resources.update(replicaSetKind, next, { fieldManager, signal }),
          what,
          ["not-found"],
        );
        if (!made) return;
        writtenRevisions.set(uidOf(made), revisionOf(made));
        tellScaled(deployment, made, replicaSet.spec.replicas ?? 1, step.to);
        return;
      }
      case "revise": {
        const body = {
          metadata: { annotations: { [deploymentRevisionAnnotation]: String(step.revision) } },
        };
        const result = await resources.patch(
          replicaSetKind,
          objectKey(keyOf(replicaSet)),
          { type: "merge", body },
          { fieldManager, signal },
        );
        const made = written(result, what, ["not-found"]);
        if (made) writtenRevisions.set(uidOf(made), revisionOf(made));
        return;
      }
      case "delete":
        await deleteThis(resources, replicaSetKind, replicaSet, { signal });
        return;
      default:
        step satisfies never;
    }
  };

  /** The name is taken: by our own earlier attempt (then the cache lags), or by another template. */
  const resolveCollision = async (
    deployment: Deployment,
    replicaSet: ReplicaSet,
    signal: AbortSignal,
  ) => {
    const found = await resources.get(replicaSetKind, objectKey(keyOf(replicaSet)), { signal });
    if (!found || controllerOf(found)?.uid === uidOf(deployment)) return;
    const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
    const next = { ...deployment, status: { ...deployment.status, collisionCount } };
    const result = await resources.update(deploymentKind, next, {
      fieldManager,
      signal,
      subresource: "status",
    });
    written(result, `deployment ${keyOf(deployment)}`, ["not-found"]);
  };

  const adoptOrphans = async (deployment: Deployment, signal: AbortSignal) => {
    if (isTerminating(deployment)) return;
    for (const set of caches.replicaSets.byIndex("orphan", deployment.metadata.namespace ?? "")) {
      if (isTerminating(set) || !matchesLabels(deployment.spec.selector, set.metadata.labels))
        continue;
      const ownerReferences = [
        ...(set.metadata.ownerReferences ?? []),
        ownedBy(deploymentKind, deployment),
      ];
      const next = { ...set, metadata: { ...set.metadata, ownerReferences } };
      const result = await resources.update(replicaSetKind, next, { fieldManager, signal });
      const made = written(result, `replica set ${keyOf(set)}`, ["not-found"]);
      if (made) writtenRevisions.set(uidOf(made), revisionOf(made));
    }
  };

  const noteRevision = async (deployment: Deployment, revision: number, signal: AbortSignal) => {
    const text = String(revision);
    if (revision === 0 || deployment.metadata.annotations?.[deploymentRevisionAnnotation] === text)
      return undefined;
    const body = { metadata: { annotations: { [deploymentRevisionAnnotation]: text } } };
    const key = objectKey(keyOf(deployment));
    const result = await resources.patch(
      deploymentKind,
      key,
      { type: "merge", body },
      { fieldManager, signal },
    );
    return written(result, `deployment ${keyOf(deployment)}`, ["not-found"]);
  };

  const tellScaled = (about: Deployment, set: ReplicaSet, from: number, to: number) =>
    events.record({
      about,
      type: "Normal",
      reason: "ScalingReplicaSet",
      message: `Scaled ${to > from ? "up" : "down"} replica set ${set.metadata.name} from ${from} to ${to}`,
    });

  const tellDeadline = (about: Deployment, status: Deployment["status"]) => {
    const reason = "ProgressDeadlineExceeded";
    const now = conditionOf(status?.conditions, "Progressing");
    const before = conditionOf(about.status?.conditions, "Progressing");
    if (now?.reason === reason && before?.reason !== reason)
      events.record({ about, type: "Warning", reason, message: now.message ?? "" });
  };

  const loop = createLoop(context, reconcile, { name: "deployment", workers: 2 });
  const addOwner = (object: ReplicaSet | undefined) => {
    const owner = object && controllerOf(object);
    if (owner?.kind === "Deployment") loop.add(`${object?.metadata.namespace}/${owner.name}`);
  };
  caches.deployments.onChange(({ key }) => loop.add(key));
  caches.replicaSets.onChange(({ object, previous }) => {
    addOwner(object);
    addOwner(previous);
    if (!object && previous) writtenRevisions.delete(uidOf(previous));
    if (object && !controllerOf(object)) {
      for (const deployment of caches.deployments.byIndex(
        "namespace",
        object.metadata.namespace ?? "",
      ))
        loop.add(keyOf(deployment));
    }
  });
  caches.pods.onChange(({ object, previous }) => {
    const pod = object ?? previous;
    const owner = pod && controllerOf(pod);
    if (owner?.kind === "ReplicaSet")
      addOwner(caches.replicaSets.get(`${pod?.metadata.namespace}/${owner.name}`));
  });
  return {
    loops: [loop],
    seed() {
      for (const deployment of caches.deployments.all()) loop.add(keyOf(deployment));
    },
  };
}

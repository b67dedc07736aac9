/** Runs the plan for replica sets. */
import { podKind, replicaSetKind, type Pod, type ReplicaSet } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { nameSuffix } from "../../lib/random.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import { controllerOf, conditionOf, keyOf, objectKey, ownedBy, uidOf } from "../objects.ts";
import { createPendingPods } from "./pending.ts";
import { planReplicaSet, podFor, withFailure } from "./plan.ts";

const askAgainMs = 20;
/** Kubernetes' limit for names, less the dash and the suffix. */
const baseLengthMax = 57;

export function createReplicaSetController(context: Context): Controller {
  const { resources, caches, clock, random, events } = context;
  const pending = createPendingPods();

  const reconcile = async (key: string, signal: AbortSignal) => {
    const replicaSet = caches.replicaSets.get(key);
    if (!replicaSet) return undefined;
    const uid = uidOf(replicaSet);
    for (const pod of pending.unsureOf(uid)) await create(replicaSet, pod, signal);

    const owned = caches.pods.byIndex("owner", uid).filter((pod) => controllerOf(pod)?.uid === uid);
    const namespace = replicaSet.metadata.namespace ?? "";
    const plan = planReplicaSet({
      replicaSet,
      owned: pending.overlay(uid, owned, caches.pods.revision),
      orphans: caches.pods.byIndex("orphan", namespace),
      nowMs: clock.wallMs(),
    });
    for (const pod of plan.adopt) await adopt(replicaSet, pod, signal);
    for (const pod of plan.release) await release(replicaSet, pod, signal);
    for (const pod of plan.remove) await remove(replicaSet, pod, signal);
    const failure = await createMissing(replicaSet, plan.create, signal);
    await writeStatus(replicaSet, plan.status, plan.create > 0, failure, signal);
    return plan.againMs === undefined ? undefined : { againMs: plan.againMs };
  };

  /** What made the cell refuse for good, if something did. */
  const createMissing = async (replicaSet: ReplicaSet, missing: number, signal: AbortSignal) => {
    const owner = [ownedBy(replicaSetKind, replicaSet)];
    const base = replicaSet.metadata.name.slice(0, baseLengthMax);
    for (let index = 0; index < missing; index++) {
      const pod = podFor(replicaSet, owner, `${base}-${nameSuffix(random)}`);
      try {
        await create(replicaSet, pod, signal);
      } catch (error) {
        if (!(error instanceof SkerryError) || error.retryable) throw error;
        events.record({
          about: replicaSet,
          type: "Warning",
          reason: "FailedCreate",
          message: error.message,
        });
        return error;
      }
    }
    return undefined;
  };

  const create = async (replicaSet: ReplicaSet, pod: Pod, signal: AbortSignal) => {
    const owner = uidOf(replicaSet);
    // Before the write: a call that throws may have arrived all the same.
    pending.unsure(owner, pod);
    const result = await resources.create(podKind, pod, { fieldManager, signal });
    if (result.state === "refused") {
      // Whatever this attempt was told: an earlier one of unknown outcome may have arrived.
      const found = await resources.get(podKind, objectKey(keyOf(pod)), { signal });
      if (found && controllerOf(found)?.uid === owner) {
        pending.made(owner, found);
        return;
      }
      pending.notMade(owner, pod);
    }
    const made = written(result, `pod ${keyOf(pod)}`);
    if (!made) return;
    pending.made(owner, made);
    events.record({
      about: replicaSet,
      type: "Normal",
      reason: "SuccessfulCreate",
      message: `Created pod: ${made.metadata.name}`,
    });
  };

  const remove = async (replicaSet: ReplicaSet, pod: Pod, signal: AbortSignal) => {
    // Before the write: a call that throws may have arrived all the same. While it stands the pod counts
    // as going, so that no other loses its place; `removals` asks again until the outcome is known.
    pending.removing(uidOf(replicaSet), pod);
    removing.set(uidOf(pod), pod);
    try {
      await tryRemove(uidOf(pod), signal);
    } catch (error) {
      if (error instanceof SkerryError && error.retryable)
        removals.addAfter(uidOf(pod), askAgainMs);
      throw error;
    }
    events.record({
      about: replicaSet,
      type: "Normal",
      reason: "SuccessfulDelete",
      message: `Deleted pod: ${pod.metadata.name}`,
    });
  };

  /** Deletions whose outcome is not known yet, by the pod's uid. */
  const removing = new Map<string, Pod>();
  const tryRemove = async (uid: string, signal: AbortSignal) => {
    const pod = removing.get(uid);
    if (!pod) return;
    try {
      await deleteThis(resources, podKind, pod, { signal });
      removing.delete(uid);
    } catch (error) {
      if (error instanceof SkerryError && !error.retryable) {
        removing.delete(uid);
        pending.notRemoved(controllerOf(pod)?.uid ?? "", pod);
      }
      throw error;
    }
  };
  const removals = createLoop(context, tryRemove, { name: "replica-set-removals" });

  const adopt = async (replicaSet: ReplicaSet, pod: Pod, signal: AbortSignal) => {
    const owners = [...(pod.metadata.ownerReferences ?? []), ownedBy(replicaSetKind, replicaSet)];
    await setOwners(pod, owners, signal);
  };

  const release = async (replicaSet: ReplicaSet, pod: Pod, signal: AbortSignal) => {
    const uid = uidOf(replicaSet);
    const owners = pod.metadata.ownerReferences?.filter((owner) => owner.uid !== uid);
    await setOwners(pod, owners, signal);
  };

  const setOwners = async (
    pod: Pod,
    ownerReferences: Pod["metadata"]["ownerReferences"],
    signal: AbortSignal,
  ) => {
    const next = { ...pod, metadata: { ...pod.metadata, ownerReferences } };
    written(await resources.update(podKind, next, { fieldManager, signal }), `pod ${keyOf(pod)}`, [
      "not-found",
    ]);
  };

  const writeStatus = async (
    replicaSet: ReplicaSet,
    planned: ReplicaSet["status"] | undefined,
    tried: boolean,
    failure: Error | undefined,
    signal: AbortSignal,
  ) => {
    const before = conditionOf(replicaSet.status?.conditions, "ReplicaFailure")?.message;
    const failed = tried ? failure?.message : before;
    if (!planned && failed === before) return;
    const status = withFailure(planned ?? replicaSet.status, failed, clock.wallMs());
    const result = await resources.update(
      replicaSetKind,
      { ...replicaSet, status },
      { fieldManager, signal, subresource: "status" },
    );
    written(result, `replica set ${keyOf(replicaSet)}`, ["not-found"]);
  };

  const loop = createLoop(context, reconcile, { name: "replica-set", workers: 4 });
  const ownerOf = (pod: Pod | undefined) => {
    const owner = pod && controllerOf(pod);
    if (owner?.kind !== "ReplicaSet") return undefined;
    return `${pod?.metadata.namespace}/${owner.name}`;
  };
  caches.replicaSets.onChange(({ key, object, previous }) => {
    if (!object && previous) pending.forget(uidOf(previous));
    loop.add(key);
  });
  caches.pods.onChange(({ object, previous }) => {
    for (const key of new Set([ownerOf(object), ownerOf(previous)])) if (key) loop.add(key);
    // A pod that lost or never had a controller may belong to any set of its namespace.
    if (object && !controllerOf(object)) {
      for (const set of caches.replicaSets.byIndex("namespace", object.metadata.namespace ?? ""))
        loop.add(keyOf(set));
    }
  });
  return {
    loops: [loop, removals],
    seed() {
      for (const replicaSet of caches.replicaSets.all()) loop.add(keyOf(replicaSet));
    },
  };
}

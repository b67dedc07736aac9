/**
 * What belongs to an owner that is gone goes too. Before anything is deleted the owner is looked up
 * where it is stored: a cache that lags must not cost anybody's pods.
 */
import {
  apiVersionOf,
  kindByObject,
  type KindDefinition,
  type KubeObject,
  type OwnerReference,
} from "../../api/index.ts";
import type { CachedKind } from "../cache/caches.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { isTerminating, keyOf, objectKey, uidOf } from "../objects.ts";

const orphanFinalizer = "orphan";
const foregroundFinalizer = "foregroundDeletion";
const lookAgainMs = 500;

export function createOwnerCollector(context: Context): Controller {
  const { resources, caches } = context;
  const cachedByKind = new Map(
    caches.all.map((entry) => [`${apiVersionOf(entry.kind)}/${entry.kind.kind}`, entry]),
  );

  const reconcile = async (key: string, signal: AbortSignal) => {
    const bar = key.indexOf("|");
    const entry = cachedByKind.get(key.slice(0, bar));
    const object = entry?.cache.get(key.slice(bar + 1));
    if (!entry || !object) return undefined;
    const finalizers = object.metadata.finalizers ?? [];
    if (isTerminating(object)) {
      if (finalizers.includes(orphanFinalizer)) await orphanDependents(entry, object, signal);
      else if (finalizers.includes(foregroundFinalizer)) {
        if (await removeDependents(entry, object, signal)) return { againMs: lookAgainMs };
      }
      return undefined;
    }
    const owners = object.metadata.ownerReferences ?? [];
    if (owners.length === 0) return undefined;
    for (const owner of owners) if (await exists(owner, object, signal)) return undefined;
    await remove(entry.kind, object, signal);
    return undefined;
  };

  const exists = async (owner: OwnerReference, dependent: KubeObject, signal: AbortSignal) => {
    const kind = kindByObject(owner.apiVersion, owner.kind);
    // Nobody here can say that an object of an unknown kind is gone.
    if (!kind) return true;
    const { namespace } = dependent.metadata;
    const key = kind.namespaced && namespace ? `${namespace}/${owner.name}` : owner.name;
    const cached = cachedByKind.get(`${owner.apiVersion}/${owner.kind}`)?.cache.get(key);
    if (cached?.metadata.uid === owner.uid) return true;
    const stored = await resources.get(kind, objectKey(key), { signal });
    return stored?.metadata.uid === owner.uid;
  };

  const remove = async (kind: KindDefinition, object: KubeObject, signal: AbortSignal) => {
    const { uid, resourceVersion } = object.metadata;
    const result = await resources.delete(kind, objectKey(keyOf(object)), {
      fieldManager,
      signal,
      preconditions: { uid, resourceVersion },
      propagationPolicy: "Background",
    });
    written(result, `${kind.plural} ${keyOf(object)}`, ["not-found", "gone"]);
  };

  const dependentsOf = (owner: KubeObject) =>
    caches.all.flatMap(({ kind, cache }) =>
      cache.byIndex("owner", uidOf(owner)).map((object) => ({ kind, object })),
    );

  const orphanDependents = async (entry: CachedKind, owner: KubeObject, signal: AbortSignal) => {
    for (const { kind, object } of dependentsOf(owner)) {
      const ownerReferences = object.metadata.ownerReferences?.filter(
        ({ uid }) => uid !== owner.metadata.uid,
      );
      const next = { ...object, metadata: { ...object.metadata, ownerReferences } };
      const result = await resources.update(kind, next, { fieldManager, signal });
      written(result, `${kind.plural} ${keyOf(object)}`, ["not-found"]);
    }
    await dropFinalizer(entry.kind, owner, orphanFinalizer, signal);
  };

  /** Whether some are still there. */
  const removeDependents = async (entry: CachedKind, owner: KubeObject, signal: AbortSignal) => {
    const dependents = dependentsOf(owner);
    for (const { kind, object } of dependents)
      if (!isTerminating(object)) await remove(kind, object, signal);
    if (dependents.length === 0)
      await dropFinalizer(entry.kind, owner, foregroundFinalizer, signal);
    return dependents.length > 0;
  };

  const dropFinalizer = async (
    kind: KindDefinition,
    object: KubeObject,
    done: string,
    signal: AbortSignal,
  ) => {
    const finalizers = object.metadata.finalizers?.filter((finalizer) => finalizer !== done);
    const next = { ...object, metadata: { ...object.metadata, finalizers } };
    const result = await resources.update(kind, next, { fieldManager, signal });
    written(result, `${kind.plural} ${keyOf(object)}`, ["not-found"]);
  };

  const loop = createLoop(context, reconcile, { name: "garbage", workers: 4 });
  const loopKey = (kind: KindDefinition, key: string) =>
    `${apiVersionOf(kind)}/${kind.kind}|${key}`;
  for (const { kind, cache } of caches.all) {
    cache.onChange(({ key, object, previous }) => {
      if (!object) {
        if (!previous) return;
        for (const entry of dependentsOf(previous))
          loop.add(loopKey(entry.kind, keyOf(entry.object)));
        return;
      }
      // Status changes concern nobody here.
      const owned = object.metadata.ownerReferences?.length ?? 0;
      const same = previous?.metadata.ownerReferences?.length === owned;
      const going = isTerminating(object) && (object.metadata.finalizers?.length ?? 0) > 0;
      if (going || (owned > 0 && !same)) loop.add(loopKey(kind, key));
    });
  }
  return {
    loops: [loop],
    seed() {
      for (const { kind, cache } of caches.all)
        for (const object of cache.all()) {
          const owned = (object.metadata.ownerReferences?.length ?? 0) > 0;
          if (owned || isTerminating(object)) loop.add(loopKey(kind, keyOf(object)));
        }
    },
  };
}

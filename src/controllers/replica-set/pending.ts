/**
 * What this controller wrote and its cache has not shown yet, so that a lagging watch never makes it
 * create or delete twice (kubernetes calls this "expectations"; here the writes themselves are laid
 * over the cache). A creation whose outcome is unknown is repeated under the same name: whichever of
 * the two attempts arrived, there is one pod.
 */
import type { Pod } from "../../api/index.ts";
import { isTerminating, keyOf, revisionOf, uidOf } from "../objects.ts";

type Made = { readonly state: "made"; readonly pod: Pod; readonly revision: number };
type Unsure = { readonly state: "unsure"; readonly pod: Pod };

export interface PendingPods {
  /** `pods` of the cache at `cacheRevision`, with what is pending laid over; forgets what was seen. */
  overlay(owner: string, pods: readonly Pod[], cacheRevision: number): Pod[];
  made(owner: string, pod: Pod): void;
  unsure(owner: string, pod: Pod): void;
  /** Creations to repeat before anything else. */
  unsureOf(owner: string): Pod[];
  notMade(owner: string, pod: Pod): void;
  removing(owner: string, pod: Pod): void;
  /** The deletion was refused for good. */
  notRemoved(owner: string, pod: Pod): void;
  forget(owner: string): void;
  readonly size: number;
}

export function createPendingPods(): PendingPods {
  const createdByOwner = new Map<string, Map<string, Made | Unsure>>();
  const removedByOwner = new Map<string, Map<string, Pod>>();

  const entry = <T>(map: Map<string, Map<string, T>>, owner: string): Map<string, T> => {
    const inner = map.get(owner) ?? new Map<string, T>();
    map.set(owner, inner);
    return inner;
  };

  return {
    overlay(owner, pods, cacheRevision) {
      const created = createdByOwner.get(owner);
      const removed = removedByOwner.get(owner);
      const byKey = new Map(pods.map((pod) => [keyOf(pod), pod]));
      for (const [key, item] of created ?? []) {
        if (byKey.has(key)) created?.delete(key);
        else if (item.state === "made" && item.revision <= cacheRevision) created?.delete(key);
        else byKey.set(key, item.pod);
      }
      const alive = new Map([...byKey.values()].map((pod) => [uidOf(pod), pod]));
      for (const [uid, pod] of removed ?? []) {
        const shown = alive.get(uid);
        if (!shown || isTerminating(shown)) removed?.delete(uid);
        else
          byKey.set(keyOf(pod), {
            ...shown,
            metadata: { ...shown.metadata, deletionTimestamp: "pending" },
          });
      }
      if (created?.size === 0) createdByOwner.delete(owner);
      if (removed?.size === 0) removedByOwner.delete(owner);
      return [...byKey.values()];
    },
    made(owner, pod) {
      entry(createdByOwner, owner).set(keyOf(pod), {
        state: "made",
        pod,
        revision: revisionOf(pod),
      });
    },
    unsure(owner, pod) {
      entry(createdByOwner, owner).set(keyOf(pod), { state: "unsure", pod });
    },
    unsureOf(owner) {
      const items = [...(createdByOwner.get(owner)?.values() ?? [])];
      return items.flatMap((item) => (item.state === "unsure" ? [item.pod] : []));
    },
    notMade(owner, pod) {
      createdByOwner.get(owner)?.delete(keyOf(pod));
    },
    removing(owner, pod) {
      entry(removedByOwner, owner).set(uidOf(pod), pod);
    },
    notRemoved(owner, pod) {
      removedByOwner.get(owner)?.delete(uidOf(pod));
    },
    forget(owner) {
      createdByOwner.delete(owner);
      removedByOwner.delete(owner);
    },
    get size() {
      return createdByOwner.size + removedByOwner.size;
    },
  };
}

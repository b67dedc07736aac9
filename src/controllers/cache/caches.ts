/** One cache per kind, shared by all loops; each follows its own watch. */
import {
  cellAddressKind,
  deploymentKind,
  endpointsKind,
  eventKind,
  kinds,
  leaseKind,
  namespaceKind,
  nodeLeaseNamespace,
  nodeKind,
  podKind,
  replicaSetKind,
  serviceKind,
  type CellAddress,
  type Deployment,
  type Endpoints,
  type KindDefinition,
  type KubeObject,
  type Lease,
  type Namespace,
  type Node,
  type Pod,
  type ReplicaSet,
  type Service,
} from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Resources } from "../../resources/index.ts";
import { controllerOf } from "../objects.ts";
import { createCache, type Cache, type CacheWriter, type IndexFunction } from "./cache.ts";
import { followKind } from "./follow.ts";

/** Indexes that every cache has. `owner`: uid of each owner. `orphan`: namespace, without a controller. */
const commonIndexes = {
  namespace: ({ metadata }: KubeObject) => (metadata.namespace ? [metadata.namespace] : []),
  owner: ({ metadata }: KubeObject) => metadata.ownerReferences?.map(({ uid }) => uid) ?? [],
  orphan: (object: KubeObject) =>
    object.metadata.namespace && !controllerOf(object) ? [object.metadata.namespace] : [],
};
const podIndexes: Readonly<Record<string, IndexFunction<Pod>>> = {
  ...commonIndexes,
  node: ({ spec }) => (spec.nodeName ? [spec.nodeName] : []),
};

export type CachedKind = { readonly kind: KindDefinition; readonly cache: Cache };

export type Caches = {
  readonly pods: Cache<Pod>;
  readonly replicaSets: Cache<ReplicaSet>;
  readonly deployments: Cache<Deployment>;
  readonly services: Cache<Service>;
  readonly endpoints: Cache<Endpoints>;
  readonly nodes: Cache<Node>;
  readonly namespaces: Cache<Namespace>;
  /** Of the nodes, renewed all the time: rule F counts by them. Not among `all`. */
  readonly nodeLeases: Cache<Lease>;
  readonly cellAddresses: Cache<CellAddress>;
  /** Every kind but events and leases, which change all the time and own nothing. */
  readonly all: readonly CachedKind[];
  /** Follows all watches until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when each kind has been listed once; rejects with the signal's reason. */
  synced(signal: AbortSignal): Promise<void>;
};

export function createCaches(deps: {
  resources: Resources;
  clock: Clock;
  random: Random;
  log: Log;
}): Caches {
  const onError = (error: unknown) => deps.log.error("cache listener failed", { error });
  const all: CachedKind[] = [];
  const followers: ((signal: AbortSignal) => Promise<void>)[] = [];
  const add = <T extends KubeObject>(
    kind: KindDefinition<T>,
    indexes: Readonly<Record<string, IndexFunction<T>>> = commonIndexes,
  ): Cache<T> => {
    const cache: CacheWriter<T> = createCache<T>(indexes, onError);
    all.push({ kind, cache });
    followers.push((signal) => followKind(deps, { kind, cache, signal }));
    return cache;
  };
  const nodeLeases: CacheWriter<Lease> = createCache<Lease>({}, onError);
  followers.push((signal) =>
    followKind(deps, {
      kind: leaseKind,
      cache: nodeLeases,
      namespace: nodeLeaseNamespace,
      signal,
    }),
  );
  const caches = {
    pods: add(podKind, podIndexes),
    replicaSets: add(replicaSetKind),
    deployments: add(deploymentKind),
    services: add(serviceKind),
    endpoints: add(endpointsKind),
    nodes: add(nodeKind),
    namespaces: add(namespaceKind),
    cellAddresses: add(cellAddressKind),
  };
  const named = new Set(all.map(({ kind }) => kind.kind));
  for (const kind of kinds) {
    if (named.has(kind.kind) || kind.kind === eventKind.kind || kind.kind === leaseKind.kind)
      continue;
    add(kind);
  }
  return {
    ...caches,
    nodeLeases,
    all,
    async run(signal) {
      await Promise.all(followers.map((follow) => follow(signal)));
    },
    async synced(signal) {
      while (!nodeLeases.synced || !all.every(({ cache }) => cache.synced))
        await deps.clock.sleep(20, { signal });
    },
  };
}

/**
 * Desired state as a server's API offers it: from the ledger while a majority of the servers answers,
 * else what this node last knew, to be read only. A write is refused at once and by name, instead of
 * waiting for a majority that may not come.
 */
import type { KindDefinition } from "../api/index.ts";
import type { MountedRoute } from "../apiserver/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Resources } from "../resources/index.ts";

const quorumLost = (cause?: unknown) =>
  new SkerryError({
    code: "quorum-lost",
    message: "a majority of the cell's servers does not answer, so that nothing can be agreed on",
    hint: "workloads, local data and ingress go on; skerry server list names who does not answer",
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });

/**
 * A route whose answer needs the ledger says why there is none: that no member answers the call is
 * true of each of them, and tells a person nothing.
 */
export function sayingQuorumLost(route: MountedRoute, hasQuorum: () => boolean): MountedRoute {
  return {
    ...route,
    async handle(request) {
      try {
        return await route.handle(request);
      } catch (error) {
        const isUnavailable = error instanceof SkerryError && error.code === "ledger-unavailable";
        throw isUnavailable && !hasQuorum() ? quorumLost(error) : error;
      }
    },
  };
}

export function readsWithoutQuorum(deps: {
  ledger: Resources;
  mirror: Resources;
  hasQuorum: () => boolean;
  /** Whether the mirror keeps this kind. */
  mirrors: (kind: KindDefinition) => boolean;
}): Resources {
  const { ledger, mirror, hasQuorum } = deps;
  const source = (kind: KindDefinition) => {
    if (hasQuorum()) return ledger;
    if (deps.mirrors(kind)) return mirror;
    throw quorumLost();
  };
  const writable = () => {
    if (hasQuorum()) return ledger;
    throw quorumLost();
  };
  return {
    get: async (kind, key, options) => await source(kind as KindDefinition).get(kind, key, options),
    list: async (kind, options) => await source(kind as KindDefinition).list(kind, options),
    watch: (kind, options) => source(kind as KindDefinition).watch(kind, options),
    create: async (kind, object, options) => await writable().create(kind, object, options),
    update: async (kind, object, options) => await writable().update(kind, object, options),
    patch: async (kind, key, patch, options) => await writable().patch(kind, key, patch, options),
    delete: async (kind, key, options) => await writable().delete(kind, key, options),
  };
}

/**
 * Which endpoint gets the next request. Least requests under way first, this node's own among
 * equals, then in turn. What returns after an ejection takes part only as often as its weight says.
 * When everything looks bad, everything is tried: a wrong suspicion must not become an outage.
 */
import type { Clock } from "../lib/clock.ts";
import type { Random } from "../lib/random.ts";
import { createHealth, type Fault, type HealthOptions } from "./health.ts";
import { addressOf, type RouteEndpoint } from "./routes/table.ts";

export type BalancerOptions = {
  readonly node: string;
  readonly health?: HealthOptions;
  readonly onEjected?: (endpoint: RouteEndpoint) => void;
  /** Nothing looked good, and something was picked nevertheless. */
  readonly onPanic?: () => void;
};

/** A request at an endpoint. */
export interface Turn {
  /** Its answer began. */
  succeeded(): void;
  failed(fault: Fault): void;
  /** Call once when the request has ended, however it did. Idempotent. */
  end(): void;
}

export type Exclude = (endpoint: RouteEndpoint) => boolean;

export interface Balancer {
  /** Undefined when `endpoints` less `exclude` is empty. */
  pick(endpoints: readonly RouteEndpoint[], exclude: Exclude): RouteEndpoint | undefined;
  /** Whether there is one that looks good. */
  hasGood(endpoints: readonly RouteEndpoint[], exclude: Exclude): boolean;
  begin(endpoint: RouteEndpoint): Turn;
  /** Pods of a silent node are left out; when it answers again they return by slow start. */
  setSilent(node: string, silent: boolean): void;
  /** What is no longer named is forgotten; what is new after the first table starts slowly. */
  retain(endpoints: readonly RouteEndpoint[]): void;
}

export function createBalancer(
  deps: { clock: Clock; random: Random },
  options: BalancerOptions,
): Balancer {
  const { node: here } = options;
  const health = createHealth(deps, options.health);
  const underWayByKey = new Map<string, number>();
  const silentNodes = new Set<string>();
  let known: readonly RouteEndpoint[] | undefined;
  let turn = 0;

  const load = (endpoint: RouteEndpoint) => underWayByKey.get(addressOf(endpoint)) ?? 0;
  const isSilent = ({ node }: RouteEndpoint) => node !== here && silentNodes.has(node);
  const weight = (endpoint: RouteEndpoint) =>
    isSilent(endpoint) ? 0 : health.weight(addressOf(endpoint));

  const candidatesOf = (allowed: readonly RouteEndpoint[]): readonly RouteEndpoint[] => {
    if (health.isQuiet && silentNodes.size === 0) return allowed;
    const good = allowed.filter((endpoint) => weight(endpoint) > 0);
    if (good.length > 0) {
      const invited = good.filter((endpoint) => {
        const share = weight(endpoint);
        return share >= 1 || deps.random.float() < share;
      });
      return invited.length > 0 ? invited : good;
    }
    if (allowed.length > 0) options.onPanic?.();
    // A pod that refused a moment ago is a better guess than one of a machine that says nothing.
    const heard = allowed.filter((endpoint) => !isSilent(endpoint));
    return heard.length > 0 ? heard : allowed;
  };

  return {
    pick(endpoints, exclude) {
      const candidates = candidatesOf(endpoints.filter((endpoint) => !exclude(endpoint)));
      if (candidates.length < 2) return candidates[0];
      const loads = candidates.map(load);
      const least = Math.min(...loads);
      const equal = candidates.filter((_, index) => loads[index] === least);
      const near = equal.filter(({ node }) => node === here);
      const choice = near.length > 0 ? near : equal;
      return choice[turn++ % choice.length];
    },
    hasGood: (endpoints, exclude) =>
      endpoints.some((endpoint) => !exclude(endpoint) && weight(endpoint) > 0),
    begin(endpoint) {
      const key = addressOf(endpoint);
      const since = health.now;
      underWayByKey.set(key, (underWayByKey.get(key) ?? 0) + 1);
      let ended = false;
      return {
        succeeded() {
          if (!health.isQuiet) health.succeeded(key, since);
        },
        failed(fault) {
          if (health.failed(key, fault)) options.onEjected?.(endpoint);
        },
        end() {
          if (ended) return;
          ended = true;
          const left = (underWayByKey.get(key) ?? 1) - 1;
          if (left > 0) underWayByKey.set(key, left);
          else underWayByKey.delete(key);
        },
      };
    },
    setSilent(node, silent) {
      if (silent) silentNodes.add(node);
      else if (silentNodes.delete(node))
        for (const endpoint of known ?? [])
          if (endpoint.node === node) health.arrived(addressOf(endpoint));
    },
    retain(endpoints) {
      const keys = new Set(endpoints.map(addressOf));
      health.retain(keys);
      const before = known && new Set(known.map(addressOf));
      if (before) for (const key of keys) if (!before.has(key)) health.arrived(key);
      known = endpoints;
    },
  };
}

/**
 * Which endpoint gets the next request, and which are left alone for a moment because they failed
 * (passive health). Least requests under way first, this node's own among equals, then in turn.
 * When every endpoint looks bad, all are tried: a wrong suspicion must not become an outage.
 */
import type { Clock } from "../lib/clock.ts";
import { addressOf, type RouteEndpoint } from "./routes/table.ts";

export type BalancerOptions = {
  readonly node: string;
  /** After the first failure; doubles with each further one. Default 500 ms. */
  readonly avoidMs?: number;
  /** Default 10 s. */
  readonly avoidMsMax?: number;
};

/** What failed: one endpoint, or the way to everything on its node. */
export type Blame = "endpoint" | "node";

export interface Balancer {
  /** Undefined when `endpoints` less `exclude` is empty. */
  pick(
    endpoints: readonly RouteEndpoint[],
    exclude: (endpoint: RouteEndpoint) => boolean,
  ): RouteEndpoint | undefined;
  /** A request to the endpoint begins; call what it returns when it has ended. */
  begin(endpoint: RouteEndpoint): () => void;
  failed(endpoint: RouteEndpoint, blame: Blame): void;
  succeeded(endpoint: RouteEndpoint): void;
  /** Forgets what is no longer in any table. */
  retain(endpoints: readonly RouteEndpoint[]): void;
}

type Health = { failures: number; avoidUntilMs: number };

export function createBalancer(deps: { clock: Clock }, options: BalancerOptions): Balancer {
  const avoidMs = options.avoidMs ?? 500;
  const avoidMsMax = options.avoidMsMax ?? 10_000;
  const underWayByKey = new Map<string, number>();
  const healthByKey = new Map<string, Health>();
  let turn = 0;

  const nodeKey = (endpoint: RouteEndpoint) => `node ${endpoint.node}`;
  const avoided = (key: string, nowMs: number) =>
    (healthByKey.get(key)?.avoidUntilMs ?? -Infinity) > nowMs;
  const load = (endpoint: RouteEndpoint) => underWayByKey.get(addressOf(endpoint)) ?? 0;

  return {
    pick(endpoints, exclude) {
      const nowMs = deps.clock.monotonicMs();
      const allowed = endpoints.filter((endpoint) => !exclude(endpoint));
      const healthy = allowed.filter(
        (endpoint) =>
          !avoided(addressOf(endpoint), nowMs) &&
          (endpoint.node === options.node || !avoided(nodeKey(endpoint), nowMs)),
      );
      const candidates = healthy.length > 0 ? healthy : allowed;
      const least = Math.min(...candidates.map(load));
      const equal = candidates.filter((endpoint) => load(endpoint) === least);
      const near = equal.filter(({ node }) => node === options.node);
      const choice = near.length > 0 ? near : equal;
      return choice[turn++ % choice.length];
    },
    begin(endpoint) {
      const key = addressOf(endpoint);
      underWayByKey.set(key, (underWayByKey.get(key) ?? 0) + 1);
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        const left = (underWayByKey.get(key) ?? 1) - 1;
        if (left > 0) underWayByKey.set(key, left);
        else underWayByKey.delete(key);
      };
    },
    failed(endpoint, blame) {
      const key = blame === "node" ? nodeKey(endpoint) : addressOf(endpoint);
      const nowMs = deps.clock.monotonicMs();
      const health = healthByKey.get(key) ?? { failures: 0, avoidUntilMs: 0 };
      // Requests that were under way together tell of one failure, not of many.
      if (health.avoidUntilMs <= nowMs) health.failures++;
      health.avoidUntilMs = nowMs + Math.min(avoidMsMax, avoidMs * 2 ** (health.failures - 1));
      healthByKey.set(key, health);
    },
    succeeded(endpoint) {
      if (healthByKey.size === 0) return;
      healthByKey.delete(addressOf(endpoint));
      healthByKey.delete(nodeKey(endpoint));
    },
    retain(endpoints) {
      const known = new Set(
        endpoints.flatMap((endpoint) => [addressOf(endpoint), nodeKey(endpoint)]),
      );
      for (const key of healthByKey.keys()) if (!known.has(key)) healthByKey.delete(key);
    },
  };
}

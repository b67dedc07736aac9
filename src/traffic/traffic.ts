/**
 * The main thread's half: starts the proxy thread, tells it tables and identities, brings its
 * counters and log lines home, and starts it again should it end.
 */
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { decodeError, SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Metrics } from "../runtime/metrics/index.ts";
import { openKeptTable } from "./kept-table.ts";
import { createTrafficMetrics } from "./metrics.ts";
import {
  proxyLimitsDefault,
  type ListenAddress,
  type ProxyIdentity,
  type ProxyLimits,
  type ProxyPorts,
} from "./protocol.ts";
import type { RouteTable } from "./routes/table.ts";
import { startProxyThread, type ProxyThread } from "./thread/index.ts";

export type TrafficDependencies = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
};

export type TrafficOptions = {
  readonly node: string;
  /** Port 0 picks a free one, which is kept over restarts of the thread. */
  readonly ingress?: ListenAddress;
  readonly mesh?: ListenAddress;
  readonly identity: ProxyIdentity;
  /** The file in which the last table is kept; a start follows it until it is told another one. */
  readonly keptAt?: string;
  readonly limits?: Partial<ProxyLimits>;
  /** One that was started already; the next ones are started here. */
  readonly thread?: Promise<ProxyThread>;
  /** Of the proxy thread; beyond it the thread ends and is started again. Default 256. */
  readonly heapMbMax?: number;
  /** Restart attempts after the thread ended. Default 100 ms growing to 10 s. */
  readonly restartMs?: { readonly initialMs: number; readonly maxMs: number };
};

export interface Traffic {
  readonly ingressPort: number | undefined;
  readonly meshPort: number | undefined;
  /** Times the thread ended unasked and was started again. */
  readonly restarts: number;
  /** Resolves when requests follow the new table; those under way are not disturbed. */
  setTable(table: RouteTable): Promise<void>;
  /** New connections use it; old ones end with what they carry. */
  setIdentity(identity: ProxyIdentity): Promise<void>;
  /** False while its thread is being started again. */
  readonly running: boolean;
  /**
   * The ingress listens on another address of this machine as well, at its port, until the answer is
   * called. Throws `port-in-use`, `cannot-listen`, or `traffic-stopped` (retryable).
   */
  listenAlso(host: string): Promise<() => Promise<void>>;
  /** Takes nothing new, lets requests under way end for `graceMs` (default 5 s), then closes. */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
}

/** Listens when it resolves; without a kept table it answers 503 `starting` until the first. Throws `port-in-use` or `cannot-listen`. */
export async function startTraffic(
  deps: TrafficDependencies,
  options: TrafficOptions,
): Promise<Traffic> {
  const { log } = deps;
  const metrics = createTrafficMetrics(deps.metrics);
  const backoff = createBackoff(deps, options.restartMs ?? { initialMs: 100, maxMs: 10_000 });
  const stopping = new AbortController();
  const kept =
    options.keptAt === undefined
      ? undefined
      : openKeptTable({ log }, { path: options.keptAt, node: options.node });
  let table = kept?.read();
  let identity = options.identity;
  let prepared = options.thread;
  let ports: ProxyPorts = {};
  let restarts = 0;
  const also = new Set<string>();
  let alsoTold: Promise<void> = Promise.resolve();

  const startOne = async (): Promise<ProxyThread> => {
    const thread = await (prepared ?? startProxyThread(options));
    prepared = undefined;
    thread.on("counts", ({ added, now, latencies }) => {
      metrics.add(added);
      metrics.observe(latencies);
      metrics.set(now);
    });
    thread.on("log", ({ level, message, fields }) => {
      const { error, ...rest } = fields;
      log[level](message, { ...rest, ...(error && { error: decodeError(error) }) });
    });
    try {
      const [startTable, startIdentity] = [table, identity];
      const at = (address: ListenAddress | undefined, port: number | undefined) =>
        address && { host: address.host, port: port ?? address.port };
      ports = await thread.call("start", {
        node: options.node,
        ingress: at(options.ingress, ports.ingressPort),
        mesh: at(options.mesh, ports.meshPort),
        identity: startIdentity,
        ...(startTable && { table: startTable }),
        limits: { ...proxyLimitsDefault, ...options.limits },
      });
      // What changed while it started went past it.
      if (table && table !== startTable) await thread.call("setTable", table);
      if (identity !== startIdentity) await thread.call("setIdentity", identity);
      // An address may have gone with the thread that listened there.
      await thread
        .call("setIngressAlso", [...also])
        .catch((error: unknown) => log.error("the ingress does not listen everywhere", { error }));
    } catch (error) {
      await thread.terminate();
      throw error;
    }
    return thread;
  };

  const guard = async (first: ProxyThread) => {
    current = first;
    while (!stopping.signal.aborted) {
      const failure = await (current as ProxyThread).ended;
      current = undefined;
      while (!stopping.signal.aborted && !current) {
        log.error("the proxy thread ended; starting it again", { error: failure });
        try {
          await deps.clock.sleep(backoff.nextMs(), { signal: stopping.signal });
          current = await startOne();
          restarts++;
          backoff.reset();
        } catch (error) {
          if (!stopping.signal.aborted) log.error("the proxy thread did not start", { error });
        }
      }
    }
  };

  let current: ProxyThread | undefined;
  const guarding = guard(await startOne());

  /** What the thread does not hear because it ends, the next one gets when it starts. */
  const tell = async (what: string, call: (thread: ProxyThread) => Promise<void>) => {
    if (!current) return;
    try {
      await call(current);
    } catch (error) {
      log.warn(`the proxy thread did not take ${what}`, { error });
    }
  };

  /** One at a time, the whole set each. */
  const tellAlso = (): Promise<void> => {
    const telling = alsoTold.then(async () => {
      if (!current)
        throw new SkerryError({
          code: "traffic-stopped",
          message: "the proxy thread does not run",
          retryable: true,
        });
      await current.call("setIngressAlso", [...also]);
    });
    alsoTold = telling.catch(() => undefined);
    return telling;
  };

  return {
    get ingressPort() {
      return ports.ingressPort;
    },
    get running() {
      return current !== undefined;
    },
    async listenAlso(host) {
      also.add(host);
      try {
        await tellAlso();
      } catch (error) {
        also.delete(host);
        throw error;
      }
      return async () => {
        also.delete(host);
        await tellAlso();
      };
    },
    get meshPort() {
      return ports.meshPort;
    },
    get restarts() {
      return restarts;
    },
    setTable(next) {
      table = next;
      kept?.keep(next);
      return tell("a table", (thread) => thread.call("setTable", next));
    },
    setIdentity(next) {
      identity = next;
      return tell("an identity", (thread) => thread.call("setIdentity", next));
    },
    async stop({ graceMs = 5_000 } = {}) {
      if (stopping.signal.aborted) return guarding;
      stopping.abort(new Error("traffic stops"));
      await tell("its stop", (thread) => thread.call("stop", { graceMs }));
      await current?.terminate();
      await guarding;
      await kept?.settled();
    },
  };
}

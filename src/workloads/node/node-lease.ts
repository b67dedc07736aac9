/**
 * The node's lease (DESIGN rule F): pods that run at most once run only while the cell keeps hearing of
 * this node. A renewal counts from the moment it was *sent*, and only when the ledger took it: the
 * answer of a server that could not write, or a write that made no new version, renews nothing. Who
 * starts such pods elsewhere counts from when the ledger shows the last one, which is later.
 */
import {
  nodeLeaseNamespace,
  partitionTtlDefaultMs,
  podLeasesAnnotation,
  type Lease,
} from "../../api/index.ts";
import { deadline, type Clock, type Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";

/** `missing`: there is no Lease of this node. `version` is another after each write that changed it. */
export type LeaseWrite =
  | { readonly state: "done"; readonly version: string }
  | { readonly state: "missing" | "failed" };

/** Desired state as the lease needs it: the ledger itself or a server's API, never a copy of it. */
export interface LeaseObjects {
  create(lease: Lease, options: { signal: AbortSignal }): Promise<LeaseWrite>;
  /** A merge patch. */
  patch(name: string, patch: object, options: { signal: AbortSignal }): Promise<LeaseWrite>;
}

/** Who stops the pods when the lease is over; bound to the keeper. */
export interface LeaseKeeper {
  renewLease(renewal: { sentBootMs: number; ttlMs: number }): Promise<void>;
  /** Keeps each pod's own TTL. */
  readonly isExact: boolean;
}

export interface NodeLease {
  /**
   * Boot time at which the last renewal that counts was sent; renews when that is longer ago than
   * `maxAgeMs`. Undefined when no server takes one now.
   */
  renewedWithin(maxAgeMs: number): Promise<number | undefined>;
  stop(): void;
}

const periodMaxMs = 10_000;
const retryMaxMs = 1000;
const attemptMaxMs = 5000;

/** Renews at once and then three times in the shortest TTL, at least every 10 s, until stopped. */
export function startNodeLease(
  deps: {
    objects: LeaseObjects;
    keeper: LeaseKeeper;
    clock: Clock;
    bootTimeMs: () => number;
    log: Log;
    /** Of the pods here that run by the lease. */
    ttlsMs: () => readonly number[];
  },
  options: { node: string },
): NodeLease {
  const { objects, keeper, clock, bootTimeMs, log } = deps;
  const stopping = new AbortController();
  let sentBootMs: number | undefined;
  let version: string | undefined;
  let lastText = "";
  let held: boolean | undefined;
  let timer: Timer | undefined;
  let attempting: Promise<boolean> | undefined;

  const shortestMs = () => Math.min(partitionTtlDefaultMs, ...deps.ttlsMs());

  const write = async (signal: AbortSignal): Promise<LeaseWrite> => {
    const renewTime = laterText(clock.wallMs(), lastText);
    lastText = renewTime;
    const leaseDurationSeconds = partitionTtlDefaultMs / 1000;
    const spec = { holderIdentity: options.node, leaseDurationSeconds, renewTime };
    const annotations = { [podLeasesAnnotation]: keeper.isExact ? "exact" : null };
    const patched = await objects.patch(
      options.node,
      { metadata: { annotations }, spec },
      { signal },
    );
    if (patched.state !== "missing") return patched;
    const metadata = {
      name: options.node,
      namespace: nodeLeaseNamespace,
      ...(keeper.isExact ? { annotations: { [podLeasesAnnotation]: "exact" } } : {}),
    };
    return await objects.create(
      {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata,
        spec: { ...spec, acquireTime: renewTime },
      },
      { signal },
    );
  };

  const renew = async (): Promise<boolean> => {
    const atBootMs = bootTimeMs();
    const limit = deadline(clock, Math.min(attemptMaxMs, shortestMs() / 3), {
      parent: stopping.signal,
    });
    try {
      const over = Promise.withResolvers<never>();
      over.promise.catch(() => {});
      limit.signal.addEventListener("abort", () => over.reject(limit.signal.reason), {
        once: true,
      });
      const written = await Promise.race([write(limit.signal), over.promise]);
      if (written.state !== "done" || written.version === version) return false;
      version = written.version;
      sentBootMs = atBootMs;
    } catch (error) {
      log.debug("the node's lease was not renewed", { error });
      return false;
    } finally {
      limit.done();
    }
    // The Lease in the ledger stands all the same; leased pods stop at the end of the old one.
    await keeper
      .renewLease({ sentBootMs: atBootMs, ttlMs: partitionTtlDefaultMs })
      .catch((error: unknown) => log.warn("the keeper's lease was not renewed", { error }));
    return true;
  };

  const attempt = (): Promise<boolean> => {
    attempting ??= renew().then((ok) => {
      attempting = undefined;
      if (stopping.signal.aborted) return ok;
      if (ok !== held)
        log.info(ok ? "the node's lease is held" : "the node's lease is not renewed now");
      held = ok;
      timer?.cancel();
      const waitMs = ok
        ? Math.min(periodMaxMs, shortestMs() / 3)
        : Math.min(retryMaxMs, shortestMs() / 6);
      timer = clock.after(waitMs, () => void attempt());
      return ok;
    });
    return attempting;
  };
  void attempt();

  const isFresh = (maxAgeMs: number) =>
    sentBootMs !== undefined && bootTimeMs() - sentBootMs <= maxAgeMs;
  return {
    async renewedWithin(maxAgeMs) {
      if (!isFresh(maxAgeMs)) await attempt();
      return isFresh(maxAgeMs) ? sentBootMs : undefined;
    },
    stop() {
      stopping.abort();
      timer?.cancel();
    },
  };
}

/** MicroTime of the Kubernetes API, another than the last one even where the wall clock stands still. */
function laterText(wallMs: number, last: string): string {
  const base = new Date(wallMs).toISOString().slice(0, -1);
  for (let micros = 0; ; micros++) {
    const text = `${base}${String(micros).padStart(3, "0")}Z`;
    if (text !== last) return text;
  }
}

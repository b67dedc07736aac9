/** Leases on disk and their end: which exist stands in the file, when they end in memory. */
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { unavailable } from "../checks.ts";
import type { LeaseId, WatchBatch } from "../ledger.ts";
import { createLeases } from "./leases.ts";
import type { Store } from "./store.ts";

export interface Expiry {
  grant(lease: LeaseId, ttlMs: number): Promise<void>;
  renew(lease: LeaseId): number | undefined;
  /** Idempotent: a lease that is gone is what was asked for. */
  revoke(lease: LeaseId): Promise<void>;
  alive(lease: LeaseId): boolean;
  close(): void;
}

type Commit = <T extends { batch: WatchBatch | undefined }>(work: () => T) => Promise<T>;

export function createExpiry(deps: {
  clock: Clock;
  random: Random;
  log: Log;
  store: Store;
  commit: Commit;
}): Expiry {
  const { clock, log, store, commit } = deps;
  const closed = new AbortController();

  const remove = (lease: LeaseId) => commit(() => ({ batch: store.removeLease(lease) }));

  /** The keys of an expired lease must go: tried until it works, or the ledger is closed. */
  const expire = async (lease: LeaseId) => {
    const backoff = createBackoff(deps, { initialMs: 100, maxMs: 5000 });
    while (!closed.signal.aborted) {
      try {
        const { batch } = await remove(lease);
        log.info("lease expired", { lease, keys: batch?.events.length ?? 0 });
        return;
      } catch (error) {
        if (closed.signal.aborted) return;
        log.error("keys of an expired lease not deleted yet", { lease, error });
        await clock.sleep(backoff.nextMs(), { signal: closed.signal });
      }
    }
  };

  const leases = createLeases(
    { clock },
    {
      onExpired: (lease) => {
        expire(lease).catch((error: unknown) => {
          if (!closed.signal.aborted) log.error("lease expiry stopped", { lease, error });
        });
      },
    },
  );
  for (const { lease, ttlMs } of store.leases()) leases.track(lease, ttlMs);

  return {
    async grant(lease, ttlMs) {
      await commit(() => {
        store.addLease(lease, ttlMs);
        return { batch: undefined };
      }).catch(refused);
      if (!closed.signal.aborted) leases.track(lease, ttlMs);
    },
    renew: (lease) => leases.renew(lease),
    async revoke(lease) {
      await remove(lease).catch(refused);
      leases.forget(lease);
    },
    alive: (lease) => leases.alive(lease),
    close() {
      closed.abort();
      leases.close();
    },
  };
}

function refused(error: unknown): never {
  if (error instanceof SkerryError && error.code !== "disk-full")
    throw unavailable("the ledger takes no writes now", error);
  throw error;
}

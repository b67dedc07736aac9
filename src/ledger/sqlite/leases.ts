/**
 * When leases end. Deadlines live in memory on the monotonic clock: a renewal touches no disk, and
 * a restarted server counts a full TTL anew for every lease, since it cannot know what was renewed
 * while it was down. After a stall of this thread renewals wait unread behind the timers: deadlines
 * move by the time that was lost, once until the next renewal, so that a dead holder's lease ends
 * even where stalls never do.
 */
import type { MonotonicMs } from "../../lib/brand.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { LeaseId } from "../ledger.ts";

/** A timer that is later than this tells of a stalled thread; what waits is read within it. */
const stallMs = 500;

type Held = { readonly ttlMs: number; deadlineMs: number; wasMoved: boolean };

export interface Leases {
  /** From now on for a full TTL. */
  track(lease: LeaseId, ttlMs: number): void;
  /** A full TTL from now; undefined when the lease is gone. */
  renew(lease: LeaseId): number | undefined;
  alive(lease: LeaseId): boolean;
  forget(lease: LeaseId): void;
  close(): void;
}

/** `onExpired` is called once for each lease that ran out; it is gone by then. */
export function createLeases(
  deps: { clock: Clock },
  options: { onExpired: (lease: LeaseId) => void },
): Leases {
  const { clock } = deps;
  const heldByLease = new Map<LeaseId, Held>();
  let timer: Timer | undefined;
  let armedForMs = Infinity;

  const arm = (deadlineMs: number) => {
    if (deadlineMs >= armedForMs) return;
    timer?.cancel();
    armedForMs = deadlineMs;
    timer = clock.after(deadlineMs - clock.monotonicMs(), check);
  };

  const check = () => {
    const nowMs: MonotonicMs = clock.monotonicMs();
    const lateMs = nowMs - armedForMs;
    armedForMs = Infinity;
    let nextMs = Infinity;
    for (const [lease, held] of heldByLease) {
      if (lateMs > stallMs && !held.wasMoved) {
        held.deadlineMs += lateMs + stallMs;
        held.wasMoved = true;
      }
      if (held.deadlineMs > nowMs) {
        nextMs = Math.min(nextMs, held.deadlineMs);
        continue;
      }
      heldByLease.delete(lease);
      options.onExpired(lease);
    }
    if (nextMs !== Infinity) arm(nextMs);
  };

  return {
    track(lease, ttlMs) {
      const deadlineMs = clock.monotonicMs() + ttlMs;
      heldByLease.set(lease, { ttlMs, deadlineMs, wasMoved: false });
      arm(deadlineMs);
    },
    renew(lease) {
      const held = heldByLease.get(lease);
      if (!held || held.deadlineMs <= clock.monotonicMs()) return undefined;
      held.deadlineMs = clock.monotonicMs() + held.ttlMs;
      held.wasMoved = false;
      return held.ttlMs;
    },
    alive(lease) {
      const held = heldByLease.get(lease);
      return held !== undefined && held.deadlineMs > clock.monotonicMs();
    },
    forget: (lease) => void heldByLease.delete(lease),
    close() {
      timer?.cancel();
      heldByLease.clear();
    },
  };
}

/**
 * When leases end, judged by what this process itself saw and by its own monotonic clock: PostgreSQL's
 * wall clock decides nothing. A lease runs out when its number of renewals has not changed for a whole
 * TTL since it was first seen; so a ledger that was opened again starts all of them anew.
 */
import type { Clock } from "../../lib/clock.ts";
import type { LeaseId } from "../ledger.ts";

export type LeaseRow = {
  readonly lease: LeaseId;
  readonly ttlMs: number;
  readonly renewals: number;
};

type Observed = { renewals: number; sinceMs: number; wasMoved: boolean };

/**
 * Takes what stands in the table, asked for at `sentMs`; answers what ran out. If nothing was seen for
 * longer than `stallMs`, holders could not renew either: all start anew, once until their next renewal,
 * so that a dead holder's lease ends even where outages never do.
 */
export function createObserver(
  deps: { clock: Clock },
  options: { stallMs: number },
): (rows: readonly LeaseRow[], sentMs: number) => readonly LeaseRow[] {
  const { clock } = deps;
  let observedByLease = new Map<LeaseId, Observed>();
  let lastMs: number = clock.monotonicMs();

  return (rows, sentMs) => {
    const nowMs = clock.monotonicMs();
    const hasStalled = nowMs - lastMs > options.stallMs;
    lastMs = nowMs;
    const next = new Map<LeaseId, Observed>();
    for (const { lease, renewals } of rows) {
      const before = observedByLease.get(lease);
      if (before?.renewals !== renewals)
        next.set(lease, { renewals, sinceMs: nowMs, wasMoved: false });
      else if (hasStalled && !before.wasMoved)
        next.set(lease, { renewals, sinceMs: nowMs, wasMoved: true });
      else next.set(lease, before);
    }
    observedByLease = next;
    return rows.filter(({ lease, ttlMs }) => sentMs - (next.get(lease)?.sinceMs ?? nowMs) >= ttlMs);
  };
}

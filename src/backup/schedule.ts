/**
 * When the next backup is due. Pure. The first comes soon after the start, so that a fresh cell is
 * not without one for an hour; jitter keeps many cells from reaching their hub at the same moment.
 */
export type Schedule = {
  readonly periodMs: number;
  /** After the start, when there is none that is young enough. */
  readonly firstMs: number;
  /** Share of the period (and of the first wait) by which a turn may come later. */
  readonly jitter: number;
};

export const defaultSchedule: Schedule = { periodMs: 3_600_000, firstMs: 20_000, jitter: 0.1 };

/** Beside a failed try nothing is lost by another one soon. */
const retryMsMax = 300_000;

/**
 * Milliseconds to wait from now. `ageMs` is the age of the newest verified backup, `upMs` the time
 * since the start, `failures` how many tries in a row failed, `share` a random number from 0 to 1.
 */
export function waitMs(
  schedule: Schedule,
  now: { ageMs: number | undefined; upMs: number; failures: number; share: number },
): number {
  const { periodMs, firstMs, jitter } = schedule;
  const later = 1 + jitter * now.share;
  if (now.failures > 0)
    return Math.min(retryMsMax, periodMs, firstMs * 2 ** Math.min(now.failures, 10)) * later;
  const sinceStartMs = Math.max(0, firstMs * later - now.upMs);
  // A backup from the future, after the clock was set back, counts as old.
  const isKnown = now.ageMs !== undefined && now.ageMs >= 0;
  return Math.max(sinceStartMs, isKnown ? periodMs * later - (now.ageMs ?? 0) : 0);
}

/** Older than this, a backup is told to be missing: two turns and a little were lost. */
export const staleMs = ({ periodMs }: Schedule) => 2.5 * periodMs;

/**
 * Hybrid logical clock (Kulkarni et al., 2014): time of day where clocks are right, and never back.
 * A stamp is `(ms - 2024-01-01) * 4096 + counter`, a safe integer until 2093. Stamps only order
 * writes that did not know of each other, so a clock that is years off can neither hold back a write
 * nor undo one; and a stamp far ahead of this node's time is not taken over, so it does not spread.
 */
import type { Clock } from "../../lib/clock.ts";

export interface HybridClock {
  /** Greater than every stamp it gave or took over before. */
  next(): number;
  /** Of an operation by another store. Ignored when it is more than `driftMsMax` ahead. */
  observe(stamp: number): void;
  /** After changes were undone: goes on from what is stored. */
  restore(last: number): void;
  /** How far the last stamp is ahead of this node's wall clock: this clock was set back. */
  aheadMs(): number;
}

const beginMs = Date.UTC(2024, 0, 1);
const ticksPerMs = 4096;
const driftMsDefault = 60_000;

export function createHybridClock(
  deps: { clock: Pick<Clock, "wallMs"> },
  options: { driftMsMax?: number } = {},
): HybridClock {
  const driftTicks = (options.driftMsMax ?? driftMsDefault) * ticksPerMs;
  let last = 0;
  const physical = () => {
    const ticks = Math.floor(deps.clock.wallMs() - beginMs) * ticksPerMs;
    // A clock before 2024, or past what fits: the counter alone keeps the order.
    return Number.isSafeInteger(ticks) && ticks > 0 ? ticks : 0;
  };
  return {
    next() {
      last = Math.max(last + 1, physical());
      return last;
    },
    observe(stamp) {
      if (stamp <= physical() + driftTicks) last = Math.max(last, stamp);
    },
    restore(stored) {
      last = stored;
    },
    aheadMs: () => Math.max(0, (last - physical()) / ticksPerMs),
  };
}

/** Milliseconds since 1970 of a stamp. */
export const stampMs = (stamp: number): number => Math.floor(stamp / ticksPerMs) + beginMs;

export const isStamp = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

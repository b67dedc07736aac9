/** Virtual time with standstills. */
import type { MonotonicMs } from "../../src/lib/brand.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";

/** A clock that can lose time the way a stopped process or a blocked thread does. */
export function createStallingClock(): SimulatedClock & { stall(ms: number): void } {
  const clock = createSimulatedClock();
  let lostMs = 0;
  return {
    ...clock,
    get pending() {
      return clock.pending;
    },
    monotonicMs: () => (clock.monotonicMs() + lostMs) as MonotonicMs,
    stall(ms) {
      lostMs += ms;
    },
  };
}

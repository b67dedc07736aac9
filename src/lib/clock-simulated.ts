/**
 * Virtual time for simulation and tests: nothing happens until `advance` is called, and then timers
 * fire in order of their due time (ties in order of arming), with all microtasks between them.
 */
import type { MonotonicMs, WallMs } from "./brand.ts";
import type { Clock, Timer } from "./clock.ts";

export type SimulatedClock = Clock & {
  /** Lets `ms` of virtual time pass. Resolves when every timer due by then has fired and settled. */
  advance(ms: number): Promise<void>;
  /** Steps the wall clock, as NTP or a person would; the monotonic clock does not notice. */
  stepWall(ms: number): void;
  /** Timers armed now. */
  readonly pending: number;
};

type Armed = { readonly dueMs: number; readonly order: number; readonly callback: () => void };

export function createSimulatedClock(options: { wallMs?: number } = {}): SimulatedClock {
  let nowMs = 0;
  let wallOffsetMs = options.wallMs ?? Date.UTC(2026, 0, 1);
  let nextOrder = 0;
  const armed = new Set<Armed>();

  const after = (delayMs: number, callback: () => void): Timer => {
    const timer: Armed = { dueMs: nowMs + Math.max(0, delayMs), order: nextOrder++, callback };
    armed.add(timer);
    return { cancel: () => void armed.delete(timer) };
  };

  const earliest = (untilMs: number): Armed | undefined => {
    let best: Armed | undefined;
    for (const timer of armed) {
      if (timer.dueMs > untilMs) continue;
      if (
        !best ||
        timer.dueMs < best.dueMs ||
        (timer.dueMs === best.dueMs && timer.order < best.order)
      ) {
        best = timer;
      }
    }
    return best;
  };

  /** Microtasks may queue more microtasks: a macrotask boundary drains them all. */
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

  return {
    monotonicMs: () => nowMs as MonotonicMs,
    wallMs: () => (nowMs + wallOffsetMs) as WallMs,
    after,
    sleep: (delayMs, { signal } = {}) =>
      new Promise<void>((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const onAbort = () => {
          timer.cancel();
          reject(signal?.reason);
        };
        const timer = after(delayMs, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
    async advance(ms) {
      const untilMs = nowMs + ms;
      await settle();
      for (let timer = earliest(untilMs); timer; timer = earliest(untilMs)) {
        armed.delete(timer);
        nowMs = timer.dueMs;
        timer.callback();
        await settle();
      }
      nowMs = untilMs;
    },
    stepWall(ms) {
      wallOffsetMs += ms;
    },
    get pending() {
      return armed.size;
    },
  };
}

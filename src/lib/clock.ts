/**
 * Time as a dependency. Nothing outside `runtime/` reads the host's clock: leases, heartbeats and
 * timeouts use `monotonicMs`; certificates and hybrid logical clocks use `wallMs`, which may jump.
 * The implementations are `runtime/clock` (the host's) and `lib/clock-simulated` (virtual time).
 */
import type { MonotonicMs, WallMs } from "./brand.ts";

export type Timer = {
  /** Idempotent. After it returns the callback does not run. */
  cancel(): void;
};

export interface Clock {
  monotonicMs(): MonotonicMs;
  wallMs(): WallMs;
  /** Runs `callback` once, `delayMs` from now. */
  after(delayMs: number, callback: () => void): Timer;
  /** Resolves after `delayMs`; rejects with the signal's reason when it is aborted before. */
  sleep(delayMs: number, options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * How long periodic work that has just ended waits for its next turn: half of `periodMs` to all of it.
   * A clock that has it lets what is due at about the same time be due at once. Default `periodMs`.
   */
  untilNext?(periodMs: number): number;
}

/**
 * A signal that aborts after `timeoutMs` or with `parent`. Call `done` when the work has ended, so
 * that timers and listeners do not pile up.
 */
export function deadline(
  clock: Clock,
  timeoutMs: number,
  options: { parent?: AbortSignal; reason?: () => Error } = {},
): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const timer = clock.after(timeoutMs, () =>
    controller.abort(options.reason?.() ?? new DOMException("timed out", "TimeoutError")),
  );
  const { parent } = options;
  const forward = () => controller.abort(parent?.reason);
  if (parent?.aborted) forward();
  else parent?.addEventListener("abort", forward, { once: true });
  const done = () => {
    timer.cancel();
    parent?.removeEventListener("abort", forward);
  };
  return { signal: controller.signal, done };
}

/**
 * Runs `work` every `periodMs` after the previous run ended, until stopped; errors go to `onError`. A
 * period that is a number says how long at most: see `untilNext`.
 */
export function every(
  clock: Clock,
  periodMs: number | (() => number),
  work: () => void | Promise<void>,
  onError: (error: unknown) => void,
): Timer {
  let timer: Timer | undefined;
  let cancelled = false;
  const arm = () => {
    if (cancelled) return;
    const delayMs =
      typeof periodMs === "number" ? (clock.untilNext?.(periodMs) ?? periodMs) : periodMs();
    timer = clock.after(delayMs, run);
  };
  const run = () => {
    Promise.try(work).catch(onError).finally(arm);
  };
  arm();
  return {
    cancel() {
      cancelled = true;
      timer?.cancel();
    },
  };
}

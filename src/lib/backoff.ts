/**
 * Exponential backoff with equal jitter ("Exponential Backoff And Jitter", AWS Architecture Blog,
 * 2015): the delay is uniform between half of the exponential step and the whole of it.
 */
import type { Random } from "./random.ts";

export type BackoffOptions = {
  readonly initialMs: number;
  readonly maxMs: number;
  /** Default 2. */
  readonly factor?: number;
};

export interface Backoff {
  /** The delay before the next attempt; grows until `reset`. */
  nextMs(): number;
  /** Call after a success that lasted. */
  reset(): void;
  /** Attempts since the last reset. */
  readonly attempts: number;
}

export function createBackoff(deps: { random: Random }, options: BackoffOptions): Backoff {
  const factor = options.factor ?? 2;
  let attempts = 0;
  return {
    nextMs() {
      const stepMs = Math.min(options.maxMs, options.initialMs * factor ** attempts);
      attempts++;
      return stepMs / 2 + deps.random.float() * (stepMs / 2);
    },
    reset() {
      attempts = 0;
    },
    get attempts() {
      return attempts;
    },
  };
}

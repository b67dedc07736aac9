/** What may be repeated, while a node is away or busy. */
import { createBackoff, type Backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { ambientRandom } from "./ambient.ts";

/**
 * The next pause of the backoff, behind what the other side asked for with `retry-after`: so those that
 * were turned away together do not come back together.
 */
export function pauseMsAfter(error: unknown, backoff: Backoff): number {
  const askedMs = error instanceof SkerryError ? error.details?.["retryAfterMs"] : undefined;
  return backoff.nextMs() + (typeof askedMs === "number" ? askedMs : 0);
}

/** For ever where nothing bounds it. Throws what `work` did last, and the signal's reason. */
export async function patiently<T>(
  clock: Clock,
  work: () => Promise<T>,
  { signal, forMs = Infinity }: { signal?: AbortSignal | undefined; forMs?: number },
): Promise<T> {
  const backoff = createBackoff({ random: ambientRandom }, { initialMs: 200, maxMs: 3000 });
  const untilMs = clock.monotonicMs() + forMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const mayHelp = error instanceof SkerryError && error.retryable && !signal?.aborted;
      const pauseMs = pauseMsAfter(error, backoff);
      if (!mayHelp || clock.monotonicMs() + pauseMs > untilMs) throw error;
      await clock.sleep(pauseMs, signal ? { signal } : {});
    }
  }
}

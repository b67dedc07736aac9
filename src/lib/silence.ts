/** Waiting for what may take long, with a word now and then to whoever waits for it. */
import type { Clock } from "./clock.ts";

/** What `next` resolves to, or `silence` when that takes longer than this. */
export async function orSilence<T>(
  clock: Clock,
  next: Promise<T>,
  silenceMs: number,
): Promise<T | "silence"> {
  const { promise, resolve } = Promise.withResolvers<"silence">();
  const timer = clock.after(silenceMs, () => resolve("silence"));
  try {
    return await Promise.race([next, promise]);
  } finally {
    timer.cancel();
  }
}

/**
 * Time and chance as a program outside has them: browsers and Node alike. The client is the one room
 * that runs without a root that would hand them in, so its defaults stand here and nowhere else.
 */
import type { MonotonicMs, WallMs } from "../lib/brand.ts";
import type { Clock } from "../lib/clock.ts";
import type { Random } from "../lib/random.ts";

/** Timers of 2^31 ms or more would fire at once. */
const delayMsMax = 2 ** 31 - 1;

export const ambientClock: Clock = {
  monotonicMs: () => performance.now() as MonotonicMs,
  wallMs: () => Date.now() as WallMs,
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), delayMsMax));
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs, { signal } = {}) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = ambientClock.after(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    }),
};

const bytes = (length: number) => crypto.getRandomValues(new Uint8Array(length));
const word = () => new DataView(bytes(4).buffer).getUint32(0);

export const ambientRandom: Random = {
  float: () => word() / 0x1_0000_0000,
  integer: (bound) => Math.floor((word() / 0x1_0000_0000) * bound),
  bytes,
};

/** A token bucket per key, bounded: the key used longest ago is forgotten first, which gives it a full bucket again. */
import type { Clock } from "../lib/clock.ts";

export interface RateLimiter {
  /** Takes one token of `key`; otherwise says how long to wait for it, in milliseconds. */
  take(key: string): { readonly ok: true } | { readonly ok: false; readonly waitMs: number };
  /** Gives back a token that was taken and not needed. */
  giveBack(key: string): void;
}

export function createRateLimiter(
  deps: { clock: Clock },
  options: { readonly perSecond: number; readonly burst: number; readonly keysMax?: number },
): RateLimiter {
  const keysMax = options.keysMax ?? 4096;
  const bucketByKey = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(key) {
      const nowMs = deps.clock.monotonicMs();
      const known = bucketByKey.get(key);
      const bucket = known ?? { tokens: options.burst, atMs: nowMs };
      const earned = ((nowMs - bucket.atMs) / 1000) * options.perSecond;
      bucket.tokens = Math.min(options.burst, bucket.tokens + earned);
      bucket.atMs = nowMs;
      // A map iterates in order of insertion, so the first key is the one used longest ago.
      bucketByKey.delete(key);
      bucketByKey.set(key, bucket);
      const oldest = bucketByKey.keys().next();
      if (bucketByKey.size > keysMax && !oldest.done) bucketByKey.delete(oldest.value);
      if (bucket.tokens >= 1) {
        bucket.tokens--;
        return { ok: true };
      }
      return { ok: false, waitMs: Math.ceil(((1 - bucket.tokens) / options.perSecond) * 1000) };
    },
    giveBack(key) {
      const bucket = bucketByKey.get(key);
      if (bucket) bucket.tokens = Math.min(options.burst, bucket.tokens + 1);
    },
  };
}

/**
 * How many batches may be under way. A link over hundreds of milliseconds carries nothing while few are;
 * a slow one has nothing of many, and what is urgent waits behind them. So it grows while answers come as
 * soon as they ever did, and shrinks when they come later: by delay, as LEDBAT has it (RFC 6817). Pure.
 */
export interface SendWindow {
  readonly size: number;
  /** `isFull`: as many were under way as might be. */
  answered(tookMs: number, isFull: boolean): void;
}

/** Longer than the quickest answer: somebody's disk or turn, not yet a queue. */
const jitterMs = 50;
const queueMs = 200;

export function createSendWindow({ min, max }: { min: number; max: number }): SendWindow {
  let size = min;
  let quickestMs = Infinity;
  return {
    get size() {
      return size;
    },
    answered(tookMs, isFull) {
      quickestMs = Math.min(quickestMs, tookMs);
      const waitedMs = tookMs - quickestMs;
      if (waitedMs > queueMs) size = Math.max(min, size - 1);
      else if (waitedMs < jitterMs && isFull) size = Math.min(max, size + 1);
    },
  };
}

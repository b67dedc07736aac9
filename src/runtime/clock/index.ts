/** The host's clocks and randomness: the only place in `src/` that reads them. */
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import { performance } from "node:perf_hooks";
import type { MonotonicMs, WallMs } from "../../lib/brand.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";

/** setTimeout fires at once above this (Node documentation, `setTimeout`). */
const timerMaxMs = 2 ** 31 - 1;

/**
 * How long periodic work waits at `nowMs`, so that all of a process falls on one grid of whole periods
 * (whole seconds where those divide the period): an idle agent has two dozen turns a second, and to wake up
 * costs more than most of them do. Half a period to all of it, and a twentieth of the grid's step for
 * timers that are early.
 */
export function onGrid(nowMs: number, periodMs: number): number {
  const gridMs = periodMs % 1000 === 0 ? Math.min(periodMs, 1000) : periodMs;
  if (gridMs <= 0) return 0;
  const onBeatMs = Math.floor((nowMs + periodMs + gridMs / 20) / gridMs) * gridMs - nowMs;
  return Math.max(onBeatMs, periodMs / 2);
}

export const systemClock: Clock = {
  untilNext: (periodMs) => onGrid(performance.now(), periodMs),
  monotonicMs: () => performance.now() as MonotonicMs,
  wallMs: () => Date.now() as WallMs,
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), timerMaxMs));
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs, { signal } = {}) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
        Math.min(Math.max(0, delayMs), timerMaxMs),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
    }),
};

/** Cryptographically secure. */
export const systemRandom: Random = {
  float: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  integer: (bound) => randomInt(bound),
  bytes: (length) => new Uint8Array(randomBytes(length)),
};

/**
 * CLOCK_MONOTONIC in milliseconds: as fine as `systemClock.monotonicMs`, but with one beginning for
 * all processes of the host, so that what several of them recorded can be put in order.
 */
export const hostMonotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/**
 * Milliseconds since the host booted, suspend included (CLOCK_BOOTTIME, by steps of about 10 ms).
 * For deadlines that must hold across a suspend and be compared between processes of one boot.
 */
export const bootTimeMs = (): number => Math.round(uptime() * 1000);

/** That clock with the boot it counts from: two readings compare only within one boot. */
export const steadyClock = (): { bootId: string; nowMs: () => number } => ({
  bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
  nowMs: bootTimeMs,
});

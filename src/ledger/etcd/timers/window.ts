/** The last minutes of a member, from the samples at their two ends. A process begun anew starts over. */
import type { MonotonicMs } from "../../../lib/brand.ts";
import { countOf, percentileMs, since, type Sample } from "./metrics.ts";

export type Measurement = {
  /** How much time it covers. */
  readonly windowMs: number;
  readonly fsyncs: number;
  /** Absent when nothing was synced. */
  readonly fsyncP99Ms?: number;
  /** To each other member, by its id (decimal). */
  readonly roundTripP99MsById: Readonly<Record<string, number>>;
  readonly leaderChanges: number;
  readonly heartbeatFailures: number;
  readonly slowApplies: number;
};

export type Window = {
  add(sample: Sample, atMs: MonotonicMs): void;
  /** Undefined until two samples of one process are there. */
  measurement(): Measurement | undefined;
};

/** etcd probes each path about twice in 4 s; a single dial shall not count as the usual. */
const roundTripsMin = 20;

export function createWindow(lengthMs: number): Window {
  let samples: { sample: Sample; atMs: MonotonicMs }[] = [];
  return {
    add(sample, atMs) {
      if (samples.at(-1)?.sample.startedS !== sample.startedS) samples = [];
      samples.push({ sample, atMs });
      // One may be older than the window, so that the whole of it is covered.
      while ((samples[1]?.atMs ?? atMs) <= atMs - lengthMs) samples.shift();
    },
    measurement() {
      const [first, last] = [samples[0], samples.at(-1)];
      if (!first || !last || first === last) return undefined;
      return measure(first.sample, last.sample, last.atMs - first.atMs);
    },
  };
}

function measure(before: Sample, now: Sample, windowMs: number): Measurement {
  const fsync = since(now.fsync, before.fsync);
  const fsyncP99Ms = percentileMs(fsync, 0.99);
  const roundTrips = [...now.roundTrips].flatMap(([id, histogram]) => {
    const made = since(histogram, before.roundTrips.get(id));
    const p99Ms = percentileMs(made, 0.99);
    if (p99Ms === undefined || countOf(made) < roundTripsMin) return [];
    return [[id, rounded(p99Ms)] as const];
  });
  return {
    windowMs: Math.round(windowMs),
    fsyncs: countOf(fsync),
    ...(fsyncP99Ms === undefined ? {} : { fsyncP99Ms: rounded(fsyncP99Ms) }),
    roundTripP99MsById: Object.fromEntries(roundTrips),
    leaderChanges: now.leaderChanges - before.leaderChanges,
    heartbeatFailures: now.heartbeatFailures - before.heartbeatFailures,
    slowApplies: now.slowApplies - before.slowApplies,
  };
}

const rounded = (ms: number) => Math.round(ms * 100) / 100;

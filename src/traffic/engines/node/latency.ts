/**
 * How long requests took, in buckets of fixed bounds: the proxy thread adds to a few numbers, and
 * tells them as it tells its counters.
 */
import type { RequestOutcome } from "./counts.ts";

/** Whether its method is a safe one (RFC 9110, section 9.2.1). */
export type MethodClass = "read" | "write";
export type LatencyName = `${MethodClass}:${RequestOutcome}`;

/** Of one bucket, the last of which has no bound: how many, and their seconds together. */
export type LatencyBucket = { readonly count: number; readonly seconds: number };
/** By place in `latencyBounds`; what is empty is absent. */
export type Latencies = Partial<Record<LatencyName, Readonly<Record<number, LatencyBucket>>>>;

/** Upper bounds in seconds. */
export const latencyBounds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

export interface Latency {
  record(name: LatencyName, seconds: number): void;
  /** Since the last call; undefined when nothing was recorded. */
  take(): Latencies | undefined;
}

const readMethods = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

export const methodClass = (method = "GET"): MethodClass =>
  readMethods.has(method) ? "read" : "write";

export function createLatency(): Latency {
  let buckets: Partial<Record<LatencyName, Record<number, { count: number; seconds: number }>>> =
    {};
  let isEmpty = true;
  return {
    record(name, seconds) {
      isEmpty = false;
      const within = latencyBounds.findIndex((bound) => seconds <= bound);
      const place = within < 0 ? latencyBounds.length : within;
      const bucket = ((buckets[name] ??= {})[place] ??= { count: 0, seconds: 0 });
      bucket.count++;
      bucket.seconds += seconds;
    },
    take() {
      if (isEmpty) return undefined;
      const taken = buckets;
      [buckets, isEmpty] = [{}, true];
      return taken;
    },
  };
}

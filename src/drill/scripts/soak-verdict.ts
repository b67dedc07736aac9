/**
 * Whether anything grows, from samples of every long-lived process. Pure. A process that was started
 * anew is a series of its own: what its predecessor held is gone.
 */
import { ascending, percentile } from "../../lib/percentile.ts";
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import type { Alive } from "./soak-collect.ts";
import { notMeasured } from "./verdict.ts";

export type SoakSample = {
  /** Since the load began. */
  readonly atMs: number;
  /** `n1 agent`, `hub`: the same for every process that takes its place. */
  readonly place: string;
  readonly pid: number;
  /** Garbage included. */
  readonly ownBytes: number;
  readonly fileHandles: number;
  readonly threads: number;
};

/** Weighed right after a full collection in all its threads; what is alive in their heaps is a part of its own bytes. */
export type HeldSample = Pick<SoakSample, "atMs" | "place" | "pid" | "ownBytes"> & Alive;

export type SoakSeen = {
  readonly samples: readonly SoakSample[];
  readonly held: readonly HeldSample[];
  /** A process' first time is no growth: it loads, connects and fills its caches. */
  readonly warmUpMs: number;
  readonly firstFaultMs: number;
  /** When the last fault was over, and what follows one as well. */
  readonly quietFromMs: number;
  /** At the end, in all data folders, of what is no store of entries. */
  readonly otherFilesBytes: number;
};

/** Fewer give no slope worth the name. */
const pointsMin = 6;
/** Beyond the 95 % confidence of its slope. At this pace a node gains its own weight in half a day. */
const growthMbPerMinute = 0.15;
/** Connections come and go with the load; a leak of one a fault shows all the same. */
const handlesSlack = 8;
/** The pool of libuv and the helpers of V8 start when they are first needed. */
const threadsSlack = 4;
const otherFilesMb = 64;
/** Garbage may pile up between two collections, but not without end. */
const ownMbMax = 256;
const megabyte = 1e6;
const minuteMs = 60_000;

export type Trend = {
  /** Per minute. */
  readonly slope: number;
  /** The slope is above this with 97.5 % confidence. */
  readonly atLeast: number;
};

/**
 * Theil and Sen: the median of the slopes between all pairs of points, which a few wild samples do
 * not move; its lower confidence bound by the variance of Kendall's S (Sen 1968, "Estimates of the
 * regression coefficient based on Kendall's tau"). Undefined for fewer than three points.
 */
export function trendOf(
  points: readonly { readonly atMs: number; readonly value: number }[],
): Trend | undefined {
  const count = points.length;
  if (count < 3) return undefined;
  const slopes = ascending(
    points.flatMap((from, index) =>
      points
        .slice(index + 1)
        .filter(({ atMs }) => atMs > from.atMs)
        .map((to) => ((to.value - from.value) / (to.atMs - from.atMs)) * minuteMs),
    ),
  );
  const spread = 1.96 * Math.sqrt((count * (count - 1) * (2 * count + 5)) / 18);
  const lower = Math.max(0, Math.floor((slopes.length - spread) / 2));
  const slope = percentile(slopes, 0.5);
  const least = slopes[lower];
  return slope === undefined || least === undefined ? undefined : { slope, atLeast: least };
}

export type Growth = {
  readonly place: string;
  readonly pid: number;
  /** Of all that it holds. */
  readonly held: Trend;
  /** Of the data that is alive in its heaps: what V8 compiles late is none. */
  readonly alive: Trend;
  /** What it held after its warm-up, oldest first. */
  readonly points: readonly HeldSample[];
};

/** Of every process that was watched long enough after its warm-up, in bytes a minute. */
export function growthOf({ held, warmUpMs }: Pick<SoakSeen, "held" | "warmUpMs">): Growth[] {
  return Map.groupBy(held, ({ place, pid }) => `${place} ${pid}`)
    .values()
    .flatMap((series) => {
      const [first] = series;
      if (!first) return [];
      const points = series.filter(({ atMs }) => atMs - first.atMs >= warmUpMs);
      if (points.length < pointsMin) return [];
      const trend = trendOf(points.map(({ atMs, ownBytes }) => ({ atMs, value: ownBytes })));
      const alive = trendOf(points.map(({ atMs, dataBytes }) => ({ atMs, value: dataBytes })));
      return trend && alive
        ? [{ held: trend, alive, place: first.place, pid: first.pid, points }]
        : [];
    })
    .toArray();
}

/** By how much the median after the last fault lies above the one before the first, worst place. */
function risen(seen: SoakSeen, field: "fileHandles" | "threads"): number {
  const places = [...Map.groupBy(seen.samples, ({ place }) => place).values()];
  const rises = places.map((samples) => {
    const middle = (kept: readonly SoakSample[]) =>
      percentile(ascending(kept.map((sample) => sample[field])), 0.5);
    const before = middle(samples.filter(({ atMs }) => atMs < seen.firstFaultMs));
    const after = middle(samples.filter(({ atMs }) => atMs >= seen.quietFromMs));
    return before === undefined || after === undefined ? notMeasured : after - before;
  });
  return rises.length === 0 ? notMeasured : Math.max(...rises);
}

export function soakPromises(seen: SoakSeen): PromiseResult[] {
  const growth = growthOf(seen);
  const grown = new Set(growth.map(({ place }) => place));
  const places = new Set(seen.samples.map(({ place }) => place));
  const fastest = (of: "held" | "alive") =>
    growth.length === 0
      ? notMeasured
      : Math.max(0, ...growth.map((one) => one[of].atLeast)) / megabyte;
  return [
    atMost(
      "W1",
      "growth of the data alive in the heaps of the process that grows fastest, surely at least",
      fastest("alive"),
      growthMbPerMinute,
      "MB/min",
    ),
    atMost(
      "W7",
      "growth of all that the process that grows fastest holds, surely at least",
      fastest("held"),
      growthMbPerMinute,
      "MB/min",
    ),
    atLeast(
      "W2",
      "keepers, agents and hub watched long enough to see them grow",
      grown.size,
      Math.max(1, places.size),
      "places",
    ),
    atMost(
      "W3",
      "file handles more after the last fault than before the first",
      risen(seen, "fileHandles"),
      handlesSlack,
      "handles",
    ),
    atMost(
      "W4",
      "threads more after the last fault than before the first",
      risen(seen, "threads"),
      threadsSlack,
      "threads",
    ),
    atMost(
      "W5",
      "files that are no store of entries, at the end",
      seen.otherFilesBytes / megabyte,
      otherFilesMb,
      "MB",
    ),
    atMost(
      "W6",
      "the heaviest process at its heaviest, garbage included",
      seen.samples.length === 0
        ? notMeasured
        : Math.max(...seen.samples.map(({ ownBytes }) => ownBytes)) / megabyte,
      ownMbMax,
      "MB",
    ),
  ];
}

/** The numbers behind W1 and W7, for who wants to know where it went: a leak goes on, what warms up does not. */
export function growthLine({ place, pid, held, alive, points }: Growth): string {
  const inMb = (bytes: number, digits = 1) => (bytes / megabyte).toFixed(digits);
  const pace = ({ slope, atLeast: least }: Trend) =>
    `${inMb(slope, 3)} MB/min, surely at least ${inMb(least, 3)}`;
  const series = points.map(
    ({ atMs, ownBytes, dataBytes, codeBytes }) =>
      `${inMb(ownBytes)} (${inMb(dataBytes)} + ${inMb(codeBytes)}) at ${Math.round(atMs / 1000)}`,
  );
  return `${place} (pid ${pid}): holds ${pace(held)}; data alive in heaps ${pace(alive)}; held (data + code alive), in MB at seconds: ${series.join(", ")}`;
}

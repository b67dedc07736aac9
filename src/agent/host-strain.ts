/**
 * The ladder's fourth measure: has this host enough disk, memory and time to do what is asked of it?
 * Sampled every few seconds beside the work, never on its way; the decision is pure.
 */
import { every, type Clock } from "../lib/clock.ts";
import { formatBytes } from "../lib/duration.ts";
import type { Log } from "../lib/log.ts";
import { createHostReader, type HostReader, type HostSample } from "../runtime/host/index.ts";
import type { Ground } from "./ground.ts";

const MiB = 2 ** 20;
const shareMin = 0.05;
/** A twentieth of a large disk or memory is plenty: beyond this nobody is short of it. */
const diskPlentyBytes = 10 * 1024 * MiB;
const diskBytesMin = 256 * MiB;
const memoryPlentyBytes = 1024 * MiB;
/** Share of the time in which every task that could run waited, in percent. */
const stalledPercentMax = 40;

const periodMs = 5000;
/** Stalls are judged over two periods, as the kernel's avg10 is. */
const samplesKept = 3;

type Readings = Pick<
  HostSample,
  "atMonotonicMs" | "pressure" | "memory" | "diskFreeBytes" | "diskTotalBytes"
>;

/** What is short, in words; empty when there is enough. What the host does not tell is no reason. */
export function shortages(now: Readings, before?: Readings): readonly string[] {
  const short: string[] = [];
  const { diskFreeBytes: free, diskTotalBytes: total, memory } = now;
  if (free !== undefined && isScarce(free, total, diskPlentyBytes, diskBytesMin))
    short.push(`disk: ${formatBytes(free)} free`);
  if (memory && isScarce(memory.availableBytes, memory.totalBytes, memoryPlentyBytes, 0))
    short.push(`memory: ${formatBytes(memory.availableBytes)} available`);
  for (const kind of ["io", "memory"] as const) {
    const percent = stalledPercent(kind, now, before);
    if (percent !== undefined && percent > stalledPercentMax)
      short.push(`${kind}: everything waited ${Math.round(percent)} % of the time`);
  }
  return short;
}

function isScarce(have: number, total: number | undefined, plenty: number, least: number): boolean {
  return have < least || (total !== undefined && have < Math.min(total * shareMin, plenty));
}

function stalledPercent(kind: "io" | "memory", now: Readings, before: Readings | undefined) {
  const [to, from] = [now.pressure[kind]?.fullUs, before?.pressure[kind]?.fullUs];
  const tookMs = now.atMonotonicMs - (before?.atMonotonicMs ?? now.atMonotonicMs);
  if (to === undefined || from === undefined || tookMs <= 0) return undefined;
  return (to - from) / 10 / tookMs;
}

export type HostStrain = {
  readonly resources: "enough" | "starved";
  /** In words, as of the last sample. */
  readonly short: readonly string[];
  stop(): void;
};

export async function startHostStrain(ground: Ground): Promise<HostStrain> {
  const { clock, log, lifecycle, dataDir } = ground;
  const host = createHostReader({ clock }, { dataFolder: dataDir });
  return await lifecycle.start(
    "host strain",
    () => watchHostStrain({ clock, log, host }),
    (part) => part.stop(),
  );
}

export function watchHostStrain(deps: {
  clock: Clock;
  log: Log;
  host: Pick<HostReader, "sample">;
}): HostStrain {
  const { clock, log, host } = deps;
  const samples: Readings[] = [];
  let short: readonly string[] = [];
  const look = async () => {
    const now = await host.sample();
    const before = samples[0];
    samples.push(now);
    if (samples.length >= samplesKept) samples.shift();
    const was = short.length > 0;
    short = shortages(now, before);
    if (short.length > 0 && !was) log.warn("this host is short of something", { short });
    else if (short.length === 0 && was) log.info("this host has enough again");
  };
  // A host that cannot be measured is not said to be starved.
  const failed = (error: unknown) => log.warn("the host's strain cannot be measured", { error });
  void look().catch(failed);
  const timer = every(clock, periodMs, look, failed);
  return {
    get resources() {
      return short.length > 0 ? "starved" : "enough";
    },
    get short() {
      return short;
    },
    stop: () => timer.cancel(),
  };
}

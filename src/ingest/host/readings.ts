/**
 * Two samples of the kernel's counters to one reading: rates and shares over the time between.
 * Pure. What a sample lacks, or what ran backwards (a device replaced, counters wrapped), is absent
 * from the reading.
 */
import type { HostSample, Pressure } from "../../runtime/host/index.ts";

/** The body of a telemetry entry. Percentages from 0 to 100; the unit is the end of each name. */
export type Reading = {
  cpuPercent?: number;
  iowaitPercent?: number;
  stealPercent?: number;
  load1?: number;
  cores?: number;
  memoryUsedPercent?: number;
  memoryAvailableBytes?: number;
  swapUsedBytes?: number;
  /** Share of the time in which some task waited for this resource; `Full`: in which all did. */
  pressureCpuPercent?: number;
  pressureMemoryPercent?: number;
  pressureMemoryFullPercent?: number;
  pressureIoPercent?: number;
  pressureIoFullPercent?: number;
  /** Mean time of a request to the disk under the data folder; absent without requests. */
  diskReadMs?: number;
  diskWriteMs?: number;
  diskReadBytesPerSecond?: number;
  diskWrittenBytesPerSecond?: number;
  diskBusyPercent?: number;
  diskUsedPercent?: number;
  diskFreeBytes?: number;
  /** The latest measurement of a 4 KiB write and fsync. */
  fsyncMs?: number;
  networkReceivedBytesPerSecond?: number;
  networkSentBytesPerSecond?: number;
  agentBytes?: number;
  cgroupUsedPercent?: number;
  uptimeSeconds?: number;
};

export function readingOf(
  previous: HostSample,
  current: HostSample,
  extra: { readonly fsyncMs?: number } = {},
): Reading {
  const elapsedMs = current.atMonotonicMs - previous.atMonotonicMs;
  const perSecond = (from: number | undefined, to: number | undefined) =>
    round(over(grown(from, to), elapsedMs / 1000));
  const pressure = (from: number | undefined, to: number | undefined) =>
    percent(grown(from, to), elapsedMs * 1000);
  const of = (resource: "cpu" | "memory" | "io", field: keyof Pressure) =>
    pressure(previous.pressure[resource]?.[field], current.pressure[resource]?.[field]);

  const ticks = grown(previous.cpu?.total, current.cpu?.total);
  const { memory } = current;
  const sameDisk = previous.disk?.device === current.disk?.device ? previous.disk : undefined;
  const { disk } = current;
  const reading: Reading = {
    cpuPercent: percent(grown(previous.cpu?.busy, current.cpu?.busy), ticks),
    iowaitPercent: percent(grown(previous.cpu?.iowait, current.cpu?.iowait), ticks),
    stealPercent: percent(grown(previous.cpu?.steal, current.cpu?.steal), ticks),
    load1: current.load?.load1,
    cores: current.cpu?.cores,
    memoryUsedPercent:
      memory && percent(memory.totalBytes - memory.availableBytes, memory.totalBytes),
    memoryAvailableBytes: memory?.availableBytes,
    swapUsedBytes: memory?.swapUsedBytes,
    pressureCpuPercent: of("cpu", "someUs"),
    pressureMemoryPercent: of("memory", "someUs"),
    pressureMemoryFullPercent: of("memory", "fullUs"),
    pressureIoPercent: of("io", "someUs"),
    pressureIoFullPercent: of("io", "fullUs"),
    diskReadMs: round(
      over(grown(sameDisk?.readMs, disk?.readMs), grown(sameDisk?.reads, disk?.reads)),
    ),
    diskWriteMs: round(
      over(grown(sameDisk?.writeMs, disk?.writeMs), grown(sameDisk?.writes, disk?.writes)),
    ),
    diskReadBytesPerSecond: perSecond(sameDisk?.readBytes, disk?.readBytes),
    diskWrittenBytesPerSecond: perSecond(sameDisk?.writtenBytes, disk?.writtenBytes),
    diskBusyPercent: percent(grown(sameDisk?.busyMs, disk?.busyMs), elapsedMs),
    diskUsedPercent: percent(
      grown(current.diskFreeBytes, current.diskTotalBytes),
      current.diskTotalBytes,
    ),
    diskFreeBytes: current.diskFreeBytes,
    fsyncMs: round(extra.fsyncMs),
    networkReceivedBytesPerSecond: perSecond(
      previous.network?.receivedBytes,
      current.network?.receivedBytes,
    ),
    networkSentBytesPerSecond: perSecond(previous.network?.sentBytes, current.network?.sentBytes),
    agentBytes: current.processBytes,
    cgroupUsedPercent: percent(current.cgroupBytes, current.cgroupBytesMax),
    uptimeSeconds: current.uptimeMs === undefined ? undefined : Math.round(current.uptimeMs / 1000),
  };
  return Object.fromEntries(Object.entries(reading).filter(([, value]) => value !== undefined));
}

function grown(from: number | undefined, to: number | undefined): number | undefined {
  if (from === undefined || to === undefined || to < from) return undefined;
  return to - from;
}

function over(amount: number | undefined, divisor: number | undefined): number | undefined {
  return amount === undefined || !divisor || divisor <= 0 ? undefined : amount / divisor;
}

/** Two counters are read at slightly different moments, hence the cap. */
function percent(part: number | undefined, whole: number | undefined): number | undefined {
  const share = over(part, whole);
  return share === undefined ? undefined : round(Math.min(100, share * 100));
}

const round = (value: number | undefined) =>
  value === undefined ? undefined : Math.round(value * 100) / 100;

/**
 * What the host says about itself: counters since boot, as the kernel keeps them. Reads only; what
 * a kernel or a container does not offer is absent from the sample.
 */
import { readFileSync } from "node:fs";
import { open, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import {
  memoryCgroupFiles,
  parseBootId,
  parseCgroupBytes,
  parseCpuTimes,
  parseDisk,
  parseLoad,
  parseMemory,
  parseNetwork,
  parsePressure,
  parseUptimeMs,
  type CpuTimes,
  type Disk,
  type Load,
  type Memory,
  type Network,
  type Pressure,
} from "./parsers.ts";

export type { CpuTimes, Disk, Load, Memory, Network, Pressure };

export type HostSample = {
  readonly atMonotonicMs: number;
  readonly cpu?: CpuTimes;
  readonly memory?: Memory;
  readonly pressure: {
    readonly cpu?: Pressure;
    readonly memory?: Pressure;
    readonly io?: Pressure;
  };
  /** The device under the data folder; absent when it is not a block device of its own. */
  readonly disk?: Disk;
  /** Of the file system under the data folder. */
  readonly diskFreeBytes?: number;
  readonly diskTotalBytes?: number;
  readonly network?: Network;
  readonly load?: Load;
  readonly uptimeMs?: number;
  /** Resident memory of this process. */
  readonly processBytes: number;
  /** Memory of this process's cgroup and its limit, where there is one. */
  readonly cgroupBytes?: number;
  readonly cgroupBytesMax?: number;
};

export interface HostReader {
  sample(): Promise<HostSample>;
  /** Changes with every boot of the host; undefined where the kernel does not say. */
  bootId(): Promise<string | undefined>;
}

export type HostReaderOptions = {
  /** Folder on the disk to watch. */
  readonly dataFolder?: string;
  /** Where `proc` and `sys` are; default `/`. */
  readonly root?: string;
};

export function createHostReader(
  deps: { clock: Clock },
  options: HostReaderOptions = {},
): HostReader {
  const root = options.root ?? "/";
  /** Content of a kernel file, or undefined: a missing one is normal, whatever the reason. */
  const text = (path: string) => {
    try {
      // From the kernel's memory, never a disk: 10 to 20 us. Through the pool of threads it is four
      // hand-overs and 64 KiB of garbage for each file, a dozen times a second.
      return readFileSync(join(root, path), "utf8");
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  };
  const parsed = <T>(path: string, parse: (content: string) => T | undefined) => {
    const content = text(path);
    return content === undefined ? undefined : parse(content);
  };

  const disk = async () => {
    const { dataFolder } = options;
    if (dataFolder === undefined) return {};
    try {
      const [{ dev }, space] = await Promise.all([stat(dataFolder), statfs(dataFolder)]);
      return {
        disk: parsed("proc/diskstats", (content) => parseDisk(content, deviceNumbers(dev))),
        diskFreeBytes: space.bavail * space.bsize,
        diskTotalBytes: space.blocks * space.bsize,
      };
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return {};
    }
  };

  const cgroup = () => {
    const files = parsed("proc/self/cgroup", memoryCgroupFiles);
    if (!files) return {};
    return {
      cgroupBytes: parsed(`sys/fs/cgroup/${files.current}`, parseCgroupBytes),
      cgroupBytesMax: parsed(`sys/fs/cgroup/${files.max}`, parseCgroupBytes),
    };
  };

  return {
    async sample() {
      const disks = await disk();
      return {
        atMonotonicMs: deps.clock.monotonicMs(),
        cpu: parsed("proc/stat", parseCpuTimes),
        memory: parsed("proc/meminfo", parseMemory),
        pressure: {
          cpu: parsed("proc/pressure/cpu", parsePressure),
          memory: parsed("proc/pressure/memory", parsePressure),
          io: parsed("proc/pressure/io", parsePressure),
        },
        network: parsed("proc/net/dev", parseNetwork),
        load: parsed("proc/loadavg", parseLoad),
        uptimeMs: parsed("proc/uptime", parseUptimeMs),
        ...disks,
        ...cgroup(),
        processBytes: process.memoryUsage.rss(),
      };
    },
    bootId: async () => parsed("proc/sys/kernel/random/boot_id", parseBootId),
  };
}

/** Linux's encoding of a device number (glibc's gnu_dev_major and gnu_dev_minor). */
export function deviceNumbers(device: number): { major: number; minor: number } {
  const dev = BigInt(device);
  return {
    major: Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn)),
    minor: Number((dev & 0xffn) | ((dev >> 12n) & ~0xffn)),
  };
}

const probeBytes = new Uint8Array(4096);

/**
 * How long the disk under `folder` takes to make 4 KiB durable, in milliseconds. Runs on Node's
 * thread pool. Throws the system's error when the disk refuses.
 */
export async function measureFsyncMs(deps: { clock: Clock }, folder: string): Promise<number> {
  const path = join(folder, ".fsync-probe");
  const file = await open(path, "w", 0o600);
  try {
    const startedMs = deps.clock.monotonicMs();
    await file.write(probeBytes);
    await file.sync();
    return deps.clock.monotonicMs() - startedMs;
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

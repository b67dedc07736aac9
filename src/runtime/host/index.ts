/**
 * What the host says about itself: counters since boot, as the kernel keeps them. Reads only; what
 * a kernel or a container does not offer is absent from the sample.
 */
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
  const text = async (path: string) => {
    try {
      return await readKernelFile(join(root, path));
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  };
  const parsed = async <T>(path: string, parse: (content: string) => T | undefined) => {
    const content = await text(path);
    return content === undefined ? undefined : parse(content);
  };

  const disk = async () => {
    const { dataFolder } = options;
    if (dataFolder === undefined) return {};
    try {
      const [{ dev }, space] = await Promise.all([stat(dataFolder), statfs(dataFolder)]);
      return {
        disk: await parsed("proc/diskstats", (content) => parseDisk(content, deviceNumbers(dev))),
        diskFreeBytes: space.bavail * space.bsize,
        diskTotalBytes: space.blocks * space.bsize,
      };
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return {};
    }
  };

  const cgroup = async () => {
    const files = await parsed("proc/self/cgroup", memoryCgroupFiles);
    if (!files) return {};
    const [cgroupBytes, cgroupBytesMax] = await Promise.all([
      parsed(`sys/fs/cgroup/${files.current}`, parseCgroupBytes),
      parsed(`sys/fs/cgroup/${files.max}`, parseCgroupBytes),
    ]);
    return { cgroupBytes, cgroupBytesMax };
  };

  return {
    async sample() {
      const [cpu, memory, cpuPressure, memoryPressure, io, network, load, uptimeMs, disks, group] =
        await Promise.all([
          parsed("proc/stat", parseCpuTimes),
          parsed("proc/meminfo", parseMemory),
          parsed("proc/pressure/cpu", parsePressure),
          parsed("proc/pressure/memory", parsePressure),
          parsed("proc/pressure/io", parsePressure),
          parsed("proc/net/dev", parseNetwork),
          parsed("proc/loadavg", parseLoad),
          parsed("proc/uptime", parseUptimeMs),
          disk(),
          cgroup(),
        ]);
      return {
        atMonotonicMs: deps.clock.monotonicMs(),
        cpu,
        memory,
        pressure: { cpu: cpuPressure, memory: memoryPressure, io },
        network,
        load,
        uptimeMs,
        ...disks,
        ...group,
        processBytes: process.memoryUsage.rss(),
      };
    },
    bootId: () => parsed("proc/sys/kernel/random/boot_id", parseBootId),
  };
}

const chunkBytes = 4096;

/**
 * To its end in chunks of a page. Kernel files say that they are empty, and `readFile` then takes 64 KiB
 * for each: a dozen of them every second are a megabyte a second of garbage on an idle node.
 */
async function readKernelFile(path: string): Promise<string> {
  await using handle = await open(path);
  const chunks: Buffer[] = [];
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(chunkBytes));
    if (bytesRead === 0) return Buffer.concat(chunks).toString("utf8");
    chunks.push(buffer.subarray(0, bytesRead));
  }
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

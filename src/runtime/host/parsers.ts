/**
 * The kernel's text files about a host, parsed (proc(5), Documentation/accounting/psi.rst,
 * Documentation/admin-guide/iostats.rst). Pure. A file in an unexpected shape gives undefined: what
 * is not known is absent, never zero.
 */

/** Clock ticks since boot, over all cores. */
export type CpuTimes = {
  readonly busy: number;
  readonly iowait: number;
  readonly steal: number;
  readonly total: number;
  readonly cores: number;
};

/** /proc/stat */
export function parseCpuTimes(text: string): CpuTimes | undefined {
  const line = /^cpu +(.*)$/m.exec(text)?.[1];
  const ticks = line?.split(" ").map(Number);
  if (!ticks || ticks.length < 4 || ticks.some(Number.isNaN)) return undefined;
  // guest and guest_nice (9th and 10th) are contained in user and nice.
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] =
    ticks;
  const busy = user + nice + system + irq + softirq + steal;
  const cores = text.match(/^cpu\d/gm)?.length ?? 0;
  return { busy, iowait, steal, total: busy + idle + iowait, cores };
}

export type Memory = {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapUsedBytes?: number;
};

/** /proc/meminfo */
export function parseMemory(text: string): Memory | undefined {
  const bytesOf = (name: string) => {
    const kib = new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  };
  const totalBytes = bytesOf("MemTotal");
  const availableBytes = bytesOf("MemAvailable");
  if (totalBytes === undefined || availableBytes === undefined) return undefined;
  const swapTotal = bytesOf("SwapTotal");
  const swapFree = bytesOf("SwapFree");
  return {
    totalBytes,
    availableBytes,
    ...(swapTotal === undefined || swapFree === undefined
      ? {}
      : { swapUsedBytes: swapTotal - swapFree }),
  };
}

/** Microseconds since boot in which some, or all, of the tasks that could run waited. */
export type Pressure = { readonly someUs: number; readonly fullUs?: number };

/** /proc/pressure/{cpu,memory,io} */
export function parsePressure(text: string): Pressure | undefined {
  const totalOf = (kind: string) => new RegExp(`^${kind} .*\\btotal=(\\d+)`, "m").exec(text)?.[1];
  const some = totalOf("some");
  const full = totalOf("full");
  if (some === undefined) return undefined;
  return { someUs: Number(some), ...(full === undefined ? {} : { fullUs: Number(full) }) };
}

/** Counters of one block device since boot. */
export type Disk = {
  readonly device: string;
  readonly reads: number;
  readonly readBytes: number;
  /** Summed over requests, waiting included. */
  readonly readMs: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly writeMs: number;
  /** In which the device had something to do. */
  readonly busyMs: number;
};

const sectorBytes = 512;

/** /proc/diskstats: the device `major:minor`. */
export function parseDisk(
  text: string,
  device: { major: number; minor: number },
): Disk | undefined {
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/ +/);
    if (Number(fields[0]) !== device.major || Number(fields[1]) !== device.minor) continue;
    const numbers = fields.slice(3, 14).map(Number);
    if (numbers.length < 11 || numbers.some(Number.isNaN)) return undefined;
    const [
      reads = 0,
      ,
      sectorsRead = 0,
      readMs = 0,
      writes = 0,
      ,
      sectorsWritten = 0,
      writeMs = 0,
    ] = numbers;
    return {
      device: fields[2] ?? "",
      reads,
      readBytes: sectorsRead * sectorBytes,
      readMs,
      writes,
      writtenBytes: sectorsWritten * sectorBytes,
      writeMs,
      busyMs: numbers[9] ?? 0,
    };
  }
  return undefined;
}

export type Network = { readonly receivedBytes: number; readonly sentBytes: number };

/** /proc/net/dev: all interfaces but loopback, summed. */
export function parseNetwork(text: string): Network | undefined {
  const lines = text.split("\n").flatMap((line) => {
    const match = /^ *([^:|]+): *(\d.*)$/.exec(line);
    return match && match[1] !== "lo" ? [(match[2] ?? "").split(/ +/).map(Number)] : [];
  });
  if (!text.includes("|bytes") || lines.some((fields) => fields.length < 9)) return undefined;
  const sum = (column: number) => lines.reduce((total, fields) => total + (fields[column] ?? 0), 0);
  return { receivedBytes: sum(0), sentBytes: sum(8) };
}

export type Load = { readonly load1: number; readonly load5: number; readonly load15: number };

/** /proc/loadavg */
export function parseLoad(text: string): Load | undefined {
  const match = /^(\d+\.\d+) (\d+\.\d+) (\d+\.\d+) /.exec(text);
  if (!match) return undefined;
  return { load1: Number(match[1]), load5: Number(match[2]), load15: Number(match[3]) };
}

/** /proc/uptime, in milliseconds. */
export function parseUptimeMs(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) /.exec(text);
  return match ? Math.round(Number(match[1]) * 1000) : undefined;
}

/** /proc/sys/kernel/random/boot_id */
export function parseBootId(text: string): string | undefined {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(text.trim())?.[0];
}

/** /proc/self/cgroup: where the memory numbers of this process's cgroup stand, below /sys/fs/cgroup. */
export function memoryCgroupFiles(
  text: string,
): { readonly current: string; readonly max: string } | undefined {
  // v1, also in hybrid hierarchies where an unused v2 line stands beside.
  const v1 = /^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(.*)$/m.exec(text)?.[1];
  if (v1 !== undefined) {
    const folder = `memory${v1 === "/" ? "" : v1}`;
    return {
      current: `${folder}/memory.usage_in_bytes`,
      max: `${folder}/memory.limit_in_bytes`,
    };
  }
  const v2 = /^0::\/?(.*)$/m.exec(text)?.[1];
  if (v2 === undefined) return undefined;
  const folder = v2 === "" ? "" : `${v2}/`;
  return { current: `${folder}memory.current`, max: `${folder}memory.max` };
}

/** What v1 writes for "no limit" is close to 2^63; v2 writes "max". */
const unlimitedBytes = 2 ** 60;

/** A number of bytes from a cgroup file; undefined for "max". */
export function parseCgroupBytes(text: string): number | undefined {
  const bytes = /^\d+$/.test(text.trim()) ? Number(text) : NaN;
  return Number.isNaN(bytes) || bytes >= unlimitedBytes ? undefined : bytes;
}

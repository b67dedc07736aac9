/** `skerry doctor`: what this host offers, what it lacks, and the line that mends it. Changes nothing. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { systemCode } from "../lib/errors.ts";
import { ascending, percentile } from "../lib/percentile.ts";
import { formatBytes } from "../lib/duration.ts";

export type Finding = {
  readonly check: string;
  /** `missing`: Skerry does not run without it; `limited`: it runs, with less. */
  readonly state: "ok" | "limited" | "missing";
  readonly found: string;
  readonly meaning?: string;
  readonly mend?: string;
};

export type DoctorOptions = {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly searchPath: string;
};

export function examineHost(options: DoctorOptions): readonly Finding[] {
  return [
    nodeVersion(),
    user(),
    cgroups(),
    pressure(),
    openFiles(),
    disk(options),
    space(options.dataDir),
    wallClock(options.clock),
    ...programs(options.searchPath),
  ];
}

function nodeVersion(): Finding {
  const major = Number(process.versions.node.split(".")[0]);
  const found = `Node ${process.versions.node}`;
  return major >= 24
    ? { check: "node", state: "ok", found }
    : { check: "node", state: "missing", found, mend: "install Node 24 or newer" };
}

function user(): Finding {
  if (process.getuid?.() === 0) return { check: "user", state: "ok", found: "root" };
  return {
    check: "user",
    state: "limited",
    found: `uid ${process.getuid?.() ?? "?"}`,
    meaning:
      "limits of pods cannot be enforced, and children that left their process group may outlive a stop",
    mend: "run the agent as root, or delegate a cgroup to its user",
  };
}

function cgroups(): Finding {
  const candidates = [
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/unified/cgroup.procs",
    "/sys/fs/cgroup/memory/cgroup.procs",
  ];
  const present = candidates.filter((path) => existsSync(path));
  const writable = present.filter((path) => isWritable(join(path, "..")));
  if (writable.length > 0)
    return {
      check: "cgroups",
      state: "ok",
      found: existsSync(candidates[0] ?? "")
        ? "version 2, writable"
        : "version 1 or hybrid, writable",
    };
  return {
    check: "cgroups",
    state: "limited",
    found: present.length > 0 ? "read-only" : "none",
    meaning: "memory and CPU limits of pods are not enforced; stop reaches the process group only",
    mend: "run as root, or systemd-run --user -p Delegate=yes",
  };
}

function pressure(): Finding {
  if (existsSync("/proc/pressure/io"))
    return { check: "pressure", state: "ok", found: "/proc/pressure" };
  return {
    check: "pressure",
    state: "limited",
    found: "none",
    meaning: "telemetry has no stall times",
    mend: "boot a kernel with CONFIG_PSI (psi=1)",
  };
}

/** Connections to the API, gateway, MQTT and ingress at their limits, links, files of the stores. */
const openFilesWanted = 8192;

/** What a process may have open. Node raises its own soft limit to the hard one when it starts. */
function openFiles(): Finding {
  const path = "/proc/self/limits";
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const limit = /^Max open files +\S+ +(\d+)/m.exec(text)?.[1];
  const found = limit === undefined ? "no limit is known" : `${limit} for a process`;
  if (limit === undefined || Number(limit) >= openFilesWanted)
    return { check: "open files", state: "ok", found };
  return {
    check: "open files",
    state: "limited",
    found,
    meaning: "when they are used up, connections are accepted and closed at once until some end",
    mend: `raise the hard limit: LimitNOFILE=${openFilesWanted} in the unit, or ulimit -Hn ${openFilesWanted}`,
  };
}

/** Median and worst of a few fsyncs where the data lives: decides what an acknowledged write costs. */
function disk({ dataDir, clock }: DoctorOptions): Finding {
  const parent = existsSync(dataDir) ? dataDir : tmpdir();
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(parent, ".skerry-doctor-"));
    const sorted = ascending(fsyncsIn(folder, clock));
    const [median = 0, worst = 0] = [percentile(sorted, 0.5), sorted.at(-1)];
    const found = `fsync median ${median.toFixed(1)} ms, worst of 20 ${worst.toFixed(1)} ms in ${parent}`;
    if (median < 30) return { check: "disk", state: "ok", found };
    return {
      check: "disk",
      state: "limited",
      found,
      meaning: "acknowledgements wait for this disk",
      mend: "use an SSD or industrial flash for the data folder",
    };
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return notWritable(parent, code);
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

function fsyncsIn(folder: string, clock: Clock): number[] {
  const fd = openSync(join(folder, "probe"), "w");
  try {
    return Array.from({ length: 20 }, () => {
      const startedMs = clock.monotonicMs();
      writeSync(fd, "x".repeat(4096));
      fsyncSync(fd);
      return clock.monotonicMs() - startedMs;
    });
  } finally {
    closeSync(fd);
  }
}

/** A full disk is when people ask. */
const notWritable = (folder: string, code: string): Finding => ({
  check: "disk",
  state: "limited",
  found: `nothing can be written in ${folder}: ${code}`,
  ...(code === "ENOSPC" || code === "EDQUOT"
    ? {
        meaning: "writes are refused until there is space; what was acknowledged is safe",
        mend: "free space on this disk",
      }
    : {
        meaning: "a node writes there all the time",
        mend: "mend the folder's rights or its disk, and run this as the user that the node runs as",
      }),
});

function space(dataDir: string): Finding {
  const path = existsSync(dataDir) ? dataDir : tmpdir();
  const { bavail, bsize } = statfsSync(path);
  const free = bavail * bsize;
  const found = `${formatBytes(free)} free in ${path}`;
  return free > 1024 ** 3
    ? { check: "space", state: "ok", found }
    : {
        check: "space",
        state: "limited",
        found,
        meaning: "writes are refused when it is full",
        mend: "free space, or lower the retention of streams",
      };
}

/** Before the first release of Skerry no clock can be right. */
const earliestMs = Date.UTC(2026, 0, 1);

function wallClock(clock: Clock): Finding {
  const nowMs = clock.wallMs();
  const found = new Date(nowMs).toISOString();
  if (nowMs > earliestMs) return { check: "clock", state: "ok", found };
  return {
    check: "clock",
    state: "limited",
    found,
    meaning: "the clock is wrong; the node takes the cell's time",
    mend: "set the clock, or run chrony or systemd-timesyncd",
  };
}

function programs(searchPath: string): Finding[] {
  const wanted = [
    {
      command: "kubectl",
      meaning: "no kubectl on this machine (the API works for any other)",
      mend: "apt-get install kubernetes-client",
    },
    {
      command: "podman",
      meaning: "pods run as plain processes, images cannot run",
      mend: "apt-get install podman",
    },
    {
      command: "ip",
      meaning: "this node cannot hold an address of the cell",
      mend: "apt-get install iproute2",
    },
    {
      command: "arping",
      meaning: "who else answers for an address of the cell is not seen",
      mend: "apt-get install iputils-arping",
    },
  ];
  const folders = [...searchPath.split(delimiter), "/usr/sbin", "/sbin"].filter(
    (folder) => folder !== "",
  );
  return wanted.map(({ command, meaning, mend }): Finding => {
    const path = folders
      .map((folder) => join(folder, command))
      .find((candidate) => existsSync(candidate));
    return path === undefined
      ? { check: command, state: "limited", found: "not found", meaning, mend }
      : { check: command, state: "ok", found: path };
  });
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    // EACCES and EROFS are the answer that was asked for.
    return false;
  }
}

/** Of the machine this runs on, for the node's report: kernel and distribution. */
export function hostDescription(): { kernel: string; os: string } {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  return {
    kernel: existsSync("/proc/sys/kernel/osrelease")
      ? readFileSync("/proc/sys/kernel/osrelease", "utf8").trim()
      : "unknown",
    os: /^PRETTY_NAME="?([^"\n]*)/m.exec(release)?.[1] ?? "Linux",
  };
}

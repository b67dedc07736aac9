/**
 * Cgroups for containers where this process may make them: version 1 (memory and cpu hierarchies),
 * version 2, or both side by side (`hybrid`: limits in v1, `cgroup.kill` in v2). What cannot be made
 * is missing from `enforcement`, never an error: a container then runs without limits, and says so.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Enforcement } from "../protocol.ts";

type Hierarchy = {
  readonly version: 1 | 2;
  /** Our folder in it; containers' folders stand below. */
  readonly base: string;
  readonly memory: boolean;
  readonly cpu: boolean;
};

export type Limits = { readonly memoryBytes?: number; readonly cpuMilli?: number };

export interface Cgroups {
  /** What a container with `limits` would get. */
  enforcement(limits: Limits): Enforcement;
  /** Makes the folders and writes the limits; answers the files to enter them by (write "0"). */
  create(name: string, limits: Limits): readonly string[];
  /** The files to enter an existing container's by. */
  doors(name: string): readonly string[];
  /** Kills everything inside; false when there is no cgroup to do it by. */
  kill(name: string): boolean;
  /** Processes inside. */
  members(name: string): readonly number[];
  /** How often the kernel killed inside for memory. */
  oomKills(name: string): number;
  /** Removes the folders; false while a process is left inside. */
  remove(name: string): boolean;
  /** Leaves nothing on the host when no container is left. */
  close(): void;
}

const periodUs = 100_000;

/** `enabled: false` stands for a host that lends us none. `node` keeps nodes of one host apart. */
export function createCgroups(options: { enabled: boolean; node: string }): Cgroups {
  const hierarchies = options.enabled ? findHierarchies(options.node) : [];
  const kills = hierarchies.find(({ version }) => version === 2);
  const folders = (name: string) => hierarchies.map(({ base }) => join(base, name));

  return {
    enforcement(limits) {
      const holds = (has: (hierarchy: Hierarchy) => boolean) => hierarchies.some(has);
      const memory = limits.memoryBytes === undefined || holds(({ memory }) => memory);
      const cpu = limits.cpuMilli === undefined || holds(({ cpu }) => cpu);
      return {
        limits: memory && cpu ? "enforced" : "none",
        kill: hierarchies.length > 0 ? "cgroup" : "group",
      };
    },
    create(name, limits) {
      for (const hierarchy of hierarchies) {
        const folder = join(hierarchy.base, name);
        mkdirSync(folder, { recursive: true });
        writeLimits(hierarchy, folder, limits);
      }
      return this.doors(name);
    },
    doors: (name) => folders(name).map((folder) => join(folder, "cgroup.procs")),
    kill(name) {
      if (kills && tryWrite(join(kills.base, name, "cgroup.kill"), "1")) return true;
      const first = hierarchies[0];
      if (!first) return false;
      // Version 1 cannot kill: signal until nobody is left who could fork.
      for (let round = 0; round < 50; round++) {
        const pids = this.members(name);
        if (pids.length === 0) return true;
        for (const pid of pids) tryKill(pid);
      }
      return true;
    },
    members(name) {
      const pids = new Set<number>();
      for (const folder of folders(name)) {
        const text = tryRead(join(folder, "cgroup.procs")) ?? "";
        for (const line of text.split("\n")) if (line !== "") pids.add(Number(line));
      }
      return [...pids];
    },
    oomKills(name) {
      let kills = 0;
      for (const folder of folders(name)) {
        for (const file of ["memory.oom_control", "memory.events"]) {
          const match = /^oom_kill (\d+)$/m.exec(tryRead(join(folder, file)) ?? "");
          kills += Number(match?.[1] ?? 0);
        }
      }
      return kills;
    },
    remove: (name) => folders(name).map(removeFolder).every(Boolean),
    close() {
      for (const { base } of hierarchies) if (removeFolder(base)) removeFolder(dirname(base));
    },
  };
}

function writeLimits(hierarchy: Hierarchy, folder: string, limits: Limits): void {
  const { memoryBytes, cpuMilli } = limits;
  if (memoryBytes !== undefined && hierarchy.memory) {
    if (hierarchy.version === 2) {
      writeFileSync(join(folder, "memory.max"), String(memoryBytes));
      tryWrite(join(folder, "memory.swap.max"), "0");
      // One process killed for memory and the rest left half alive helps nobody.
      tryWrite(join(folder, "memory.oom.group"), "1");
    } else {
      writeFileSync(join(folder, "memory.limit_in_bytes"), String(memoryBytes));
      tryWrite(join(folder, "memory.memsw.limit_in_bytes"), String(memoryBytes));
    }
  }
  if (cpuMilli !== undefined && hierarchy.cpu) {
    // The kernel takes no quota below 1 ms.
    const quotaUs = Math.max(1000, Math.round((cpuMilli * periodUs) / 1000));
    if (hierarchy.version === 2) {
      writeFileSync(join(folder, "cpu.max"), `${quotaUs} ${periodUs}`);
    } else {
      writeFileSync(join(folder, "cpu.cfs_period_us"), String(periodUs));
      writeFileSync(join(folder, "cpu.cfs_quota_us"), String(quotaUs));
    }
  }
}

/** One hierarchy for each mount that we can use: v1 memory, v1 cpu, v2. */
function findHierarchies(node: string): Hierarchy[] {
  const found: Hierarchy[] = [];
  const mounts = (tryRead("/proc/self/mountinfo") ?? "").split("\n").flatMap((line) => {
    const [left = "", right = ""] = line.split(" - ");
    const [, , , root = "/", point = ""] = left.split(" ");
    const [type, , options = ""] = right.split(" ");
    return type === "cgroup" || type === "cgroup2" ? [{ type, root, point, options }] : [];
  });
  const own = (tryRead("/proc/self/cgroup") ?? "").split("\n").map((line) => {
    const [, controllers = "", ...path] = line.split(":");
    return { controllers: controllers.split(","), path: path.join(":") };
  });
  for (const { type, root, point, options } of mounts) {
    const controllers = type === "cgroup" ? options.split(",") : [""];
    const memory = controllers.includes("memory");
    const cpu = controllers.includes("cpu");
    if (type === "cgroup" && !memory && !cpu) continue;
    const path = own.find((entry) => entry.controllers.some((name) => controllers.includes(name)));
    // A container sees its own part of the hierarchy as the root of the mount.
    const inside = path?.path.startsWith(root)
      ? path.path.slice(root === "/" ? 0 : root.length)
      : "";
    const parents = [...new Set([join(point, inside), point])];
    const usable =
      type === "cgroup"
        ? firstUsable(parents, node, () => ({ version: 1, memory, cpu }))
        : (firstUsable(parents, node, handDown, ({ memory, cpu }) => memory && cpu) ??
          // Without controllers it still kills.
          firstUsable(parents, node, handDown));
    if (usable) found.push(usable);
  }
  return found;
}

/** Our folder below the first of `parents` that lends us one which is good enough; else nothing stays. */
function firstUsable(
  parents: readonly string[],
  node: string,
  look: (base: string, parent: string) => Omit<Hierarchy, "base">,
  enough: (hierarchy: Hierarchy) => boolean = () => true,
): Hierarchy | undefined {
  for (const parent of parents) {
    const base = join(parent, "skerry", node);
    if (!makeWritable(base)) continue;
    const hierarchy = { base, ...look(base, parent) };
    if (enough(hierarchy)) return hierarchy;
    if (removeFolder(base)) removeFolder(dirname(base));
  }
  return undefined;
}

/** Version 2: controllers reach a folder only when every folder above it hands them down. */
function handDown(base: string, parent: string): Omit<Hierarchy, "base"> {
  for (const folder of [parent, dirname(base), base]) {
    for (const controller of ["+memory", "+cpu"]) {
      tryWrite(join(folder, "cgroup.subtree_control"), controller);
    }
  }
  const handed = (tryRead(join(base, "cgroup.subtree_control")) ?? "").trim().split(" ");
  return { version: 2, memory: handed.includes("memory"), cpu: handed.includes("cpu") };
}

/** False while something is inside. */
function removeFolder(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

function makeWritable(base: string): boolean {
  try {
    // To make a folder is not enough: the right to move a process into it is a matter of its own.
    const trial = join(base, "trial");
    mkdirSync(trial, { recursive: true });
    const door = join(trial, "cgroup.procs");
    const entered = spawnSync("/bin/sh", ["-c", 'echo 0 >"$0"', door], { stdio: "ignore" });
    rmdirSync(trial);
    return entered.status === 0;
  } catch {
    // Read-only, or not ours: then there is no cgroup for us here, and the report says so.
    return false;
  }
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Absent on this kernel, or gone with its cgroup.
    return undefined;
  }
}

function tryWrite(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    // The kernel lacks this file or refuses: the caller has another way or reports it.
    return false;
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

/** What the processes of a node weigh together, the pods' own processes apart. */
import { readFileSync } from "node:fs";
import { roleOf, weigh, type Weight } from "../../src/drill/scripts/soak-sample.ts";
import { processesOfFolder } from "../../src/drill/site/processes.ts";

export type NodeWeight = Pick<Weight, "pssBytes" | "anonymousBytes" | "cpuMs" | "writtenBytes"> & {
  readonly agentPssBytes: number;
  readonly keeperPssBytes: number;
  readonly shimsPssBytes: number;
  /** As `pssBytes`, were there no other Node process on this machine to share the binary with. */
  readonly aloneBytes: number;
  readonly threads: number;
  readonly fileHandles: number;
};

/** Keeper, agent and the pods' shims of one data folder. What has ended meanwhile is not counted. */
export function weighNode(dataDir: string): NodeWeight {
  const parts = processesOfFolder(dataDir).flatMap((pid) => {
    const role = roleOf(pid);
    const weight = role === undefined ? undefined : weigh(pid);
    return weight === undefined ? [] : [{ pid, role, weight }];
  });
  const sum = (field: keyof Weight, role?: ReturnType<typeof roleOf>) =>
    parts
      .filter((part) => role === undefined || part.role === role)
      .reduce((total, { weight }) => total + weight[field], 0);
  return {
    pssBytes: sum("pssBytes"),
    anonymousBytes: sum("anonymousBytes"),
    cpuMs: sum("cpuMs"),
    writtenBytes: sum("writtenBytes"),
    threads: sum("threads"),
    fileHandles: sum("fileHandles"),
    agentPssBytes: sum("pssBytes", "agent"),
    keeperPssBytes: sum("pssBytes", "keeper"),
    shimsPssBytes: sum("pssBytes", "shim"),
    aloneBytes: sum("anonymousBytes") + filePages(parts.map(({ pid }) => pid)),
  };
}

/** Of each file the most that one of them holds in memory: they hold much the same pages of it. */
function filePages(pids: readonly number[]): number {
  const bytesByFile = new Map<string, number>();
  for (const pid of pids) {
    const own = new Map<string, number>();
    let file = "";
    for (const line of mapsOf(pid).split("\n")) {
      const mapping = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)\s*(.*)$/.exec(line);
      if (mapping) file = mapping[1] === "0" ? "" : (mapping[2] ?? "");
      const resident = /^Rss:\s+(\d+) kB$/.exec(line);
      const anonymous = /^Anonymous:\s+(\d+) kB$/.exec(line);
      const add = (kilobytes: number) => own.set(file, (own.get(file) ?? 0) + kilobytes * 1024);
      if (file !== "" && resident) add(Number(resident[1]));
      if (file !== "" && anonymous) add(-Number(anonymous[1]));
    }
    for (const [path, bytes] of own)
      bytesByFile.set(path, Math.max(bytes, bytesByFile.get(path) ?? 0));
  }
  return bytesByFile.values().reduce((total, bytes) => total + bytes, 0);
}

function mapsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/smaps`, "utf8");
  } catch {
    // It has ended: there is nothing left of it to count.
    return "";
  }
}

/** What a process weighs, as the kernel counts it (proc(5)). Reads only. */
import { readdirSync, readFileSync } from "node:fs";
import { systemCode } from "../../lib/errors.ts";

export type Weight = {
  /** Proportional set size: pages shared with others count by share. */
  readonly pssBytes: number;
  /** Memory of its own that no file stands behind: what it allocated. */
  readonly anonymousBytes: number;
  readonly fileHandles: number;
  readonly threads: number;
  /** User and system time since it began. */
  readonly cpuMs: number;
  /** What it caused to be written to a disk, since it began. */
  readonly writtenBytes: number;
};

/** USER_HZ of every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Undefined when it has ended. Throws what the system says when it may not be read. */
export function weigh(pid: number): Weight | undefined {
  try {
    const memory = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name stands in parentheses and may hold blanks; field 3 is the first after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const field = (number: number) => Number(fields[number - 3]);
    return {
      pssBytes: kilobytes(memory, "Pss"),
      anonymousBytes: kilobytes(memory, "Pss_Anon"),
      fileHandles: readdirSync(`/proc/${pid}/fd`).length,
      threads: field(20),
      cpuMs: ((field(14) + field(15)) * 1000) / ticksPerSecond,
      writtenBytes: Number(
        /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? 0,
      ),
    };
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/** 0 in what has ended and is not yet collected: its memory is gone. */
function kilobytes(rollup: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(rollup)?.[1] ?? 0) * 1024;
}

/** What a process of Skerry is; undefined for a pod's own. */
export function roleOf(pid: number): "agent" | "keeper" | "hub" | "shim" | undefined {
  const command = commandOf(pid);
  const entry = /\/(agent|keeper|hub)\.entry\.[jt]s$/;
  for (const word of command) {
    const role = entry.exec(word)?.[1];
    if (role === "agent" || role === "keeper" || role === "hub") return role;
  }
  // `sh -c SCRIPT skerry-shim …`
  return command[3] === "skerry-shim" ? "shim" : undefined;
}

/** Empty when it has ended. */
function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ESRCH") return [];
    throw error;
  }
}

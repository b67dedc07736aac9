/** This process: environment, arguments, signals, memory. */
import { readFileSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { SkerryError, systemCode } from "../../lib/errors.ts";

export { version } from "./version.ts";

export const environment: Readonly<Record<string, string | undefined>> = process.env;

/** Aborts at the first SIGINT or SIGTERM; the second one ends the process at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort(name);
    });
  }
  return controller.signal;
}

/**
 * Writes what Node compiled so far to its cache (NODE_COMPILE_CACHE, when set). It does so by itself at
 * an ordered exit only, and a process that was killed wants the cache most.
 */
export function keepCompiled(): void {
  flushCompileCache();
}

/** What tells a process from a later one with the same pid. */
export type ProcessIdentity = {
  readonly pid: number;
  readonly bootId: string;
  readonly startTicks: number;
};

/** Identity of a living process; undefined when there is none. Linux: proc(5), field 22 of stat. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything, so count from the last closing one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return {
      pid,
      bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
      startTicks: Number(fields[19]),
    };
  } catch {
    // ENOENT and ESRCH both mean that it is gone; there is nothing else to tell.
    return undefined;
  }
}

/** True while the very process of `identity` lives, not one that got its pid later. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return (
    now !== undefined && now.bootId === identity.bootId && now.startTicks === identity.startTicks
  );
}

/** Signals that very process; nothing when it has ended. */
export function signalProcess(target: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, name);
  } catch (error) {
    // Ended in this very moment.
    if (systemCode(error) !== "ESRCH") throw error;
  }
}

/** Of this process, for its own info. */
export function ownProcess(): ProcessIdentity {
  const identity = identifyProcess(process.pid);
  if (!identity)
    throw new SkerryError({ code: "internal", message: "this process is not in /proc" });
  return identity;
}

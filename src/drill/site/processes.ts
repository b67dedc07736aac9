/**
 * Which processes make up a machine of the site: the keeper (its lock), the agent or hub (its info),
 * the pods and their shims (the keeper's records), and all they started. Never by a program's name.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { identifyProcess } from "../../runtime/process/index.ts";

/** Pid and start time: what got a pid later is another process. */
type Found = { readonly pid: number; readonly startTicks: number };

/** Living processes that belong to a data folder. */
export function processesOfFolder(dataDir: string): readonly number[] {
  const roots = [
    fromJson(join(dataDir, "keeper", "lock"), (lock) => lock),
    fromJson(join(dataDir, "agent.json"), (info) => info["process"]),
    fromJson(join(dataDir, "hub.info.json"), (info) => info["process"]),
    ...containers(dataDir),
  ].flatMap((found) => found ?? []);
  const living = roots.filter(
    ({ pid, startTicks }) => identifyProcess(pid)?.startTicks === startTicks,
  );
  return processesBelow(living.map(({ pid }) => pid));
}

/** Living processes with `text` in their command line, such as a folder that only they were given. */
export function processesNaming(text: string): readonly number[] {
  return readdirSync("/proc").flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    return readIfThere(`/proc/${entry}/cmdline`)?.includes(text) ? [pid] : [];
  });
}

function fromJson(
  path: string,
  pick: (value: Record<string, unknown>) => unknown,
): Found | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  const found = pick(JSON.parse(text) as Record<string, unknown>);
  if (typeof found !== "object" || found === null) return undefined;
  const { pid, startTicks } = found as Record<string, unknown>;
  return typeof pid === "number" && typeof startTicks === "number"
    ? { pid, startTicks }
    : undefined;
}

/** A line each: pid and start time of the command, pid and start time of its shim. */
function containers(dataDir: string): Found[] {
  const folder = join(dataDir, "keeper", "containers");
  return list(folder).flatMap((id) => {
    const numbers = (readIfThere(join(folder, id, "pid")) ?? "").trim().split(" ").map(Number);
    const [pid = 0, startTicks = 0, shimPid = 0, shimTicks = 0] = numbers;
    return [
      { pid, startTicks },
      { pid: shimPid, startTicks: shimTicks },
    ].filter((found) => found.pid > 0);
  });
}

/** These and all that they and theirs started, as far as it lives. */
export function processesBelow(roots: readonly number[]): number[] {
  const parentByPid = new Map<number, number>();
  for (const entry of list("/proc")) {
    const stat = /^\d+$/.test(entry) ? readIfThere(`/proc/${entry}/stat`) : undefined;
    if (stat !== undefined)
      parentByPid.set(Number(entry), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  }
  const found = new Set(roots);
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const [pid, parent] of parentByPid) if (found.has(parent)) found.add(pid);
  }
  return [...found].filter((pid) => identifyProcess(pid) !== undefined);
}

/** Sends a signal to each that still lives. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (systemCode(error) !== "ESRCH") throw error;
    }
  }
}

const settleTimeoutMs = 10_000;
const pollMs = 5;

/**
 * SIGKILL to all until none is left: keeper and agent start each other again, so they are stopped
 * before they are killed. Throws `drill-step-failed` when some will not go.
 */
export async function killAll(look: () => readonly number[], clock: Clock): Promise<void> {
  await freezeAll(look, clock);
  await untilNone(look, "SIGKILL", clock);
}

/** SIGSTOP to all, and to what they started meanwhile. Throws `drill-step-failed`. */
export async function freezeAll(look: () => readonly number[], clock: Clock): Promise<void> {
  await untilNone(() => look().filter((pid) => !isStopped(pid)), "SIGSTOP", clock);
}

async function untilNone(
  look: () => readonly number[],
  signal: NodeJS.Signals,
  clock: Clock,
): Promise<void> {
  const giveUpMs = clock.monotonicMs() + settleTimeoutMs;
  for (let left = look(); left.length > 0; left = look()) {
    if (clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `processes ${left.join(", ")} did not obey ${signal} within ${settleTimeoutMs} ms`,
      });
    }
    signalAll(left, signal);
    await clock.sleep(pollMs);
  }
}

/** Stopped by a signal, or ended and not yet collected: neither runs. proc(5), field 3 of stat. */
function isStopped(pid: number): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  return stat === undefined || "TtZX".includes(stat.slice(stat.lastIndexOf(")") + 2)[0] ?? "");
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Undefined when there is no such file, or its process ended while it was read. */
function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ESRCH" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

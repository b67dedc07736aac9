/**
 * Has a Node process of the site collect its garbage, in all its threads: what it weighs afterwards is
 * what it holds. From outside, as a debugger would: SIGUSR1 opens the inspector of any Node process on
 * a port of loopback (nodejs.org/api/debugger.html), which on a machine with a network of its own only
 * that machine reaches.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { entryUrl, exited } from "../../runtime/child/index.ts";
import type { MachineName, Network } from "../site/network.ts";

/** Each process of a site takes a free port for its inspector, not all of them the same. */
export const collectableEnvironment = { NODE_OPTIONS: "--inspect-port=127.0.0.1:0" };

const openWithinMs = 10_000;
const answerWithinMs = 20_000;
const pollMs = 20;

/** Bytes in the heaps of all threads after a full collection; what lies outside of them (SQLite, TLS, sockets) is not in it. */
export type Alive = {
  readonly dataBytes: number;
  /** What V8 compiled, and optimised later: bounded by the text of the program. */
  readonly codeBytes: number;
};

/**
 * What is alive in its heaps. Undefined when the process ended meanwhile. Throws `drill-step-failed` when it lives and cannot be brought to
 * it; not to be asked of one that is stopped.
 */
export async function collectGarbage(
  machine: MachineName,
  pid: number,
  { network, clock, signal }: { network: Network; clock: Clock; signal: AbortSignal },
): Promise<Alive | undefined> {
  const giveUpMs = clock.monotonicMs() + openWithinMs;
  let port = inspectorPort(pid);
  if (port === undefined) process.kill(pid, "SIGUSR1");
  while (port === undefined) {
    if (state(pid) === "ended") return undefined;
    if (clock.monotonicMs() > giveUpMs)
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the inspector of process ${pid} on ${machine} did not open`,
      });
    await clock.sleep(pollMs, { signal });
    port = inspectorPort(pid);
  }
  const entry = fileURLToPath(entryUrl(import.meta.url, "./soak-collect.entry"));
  const command = [process.execPath, entry, String(port), String(answerWithinMs)];
  const [file = "", ...args] = network.on(machine, command);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], signal });
  let said = "";
  let told = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (told += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const { code } = await exited(child);
  if (code === 0) return JSON.parse(told) as Alive;
  if (state(pid) !== "running") return undefined;
  throw new SkerryError({
    code: "drill-step-failed",
    message: `process ${pid} on ${machine} did not collect its garbage: ${said.trim().slice(-500)}`,
  });
}

/** `stopped` answers nobody: a fault of the drill holds it. */
export function state(pid: number): "running" | "stopped" | "ended" {
  const stat = readText(`/proc/${pid}/stat`);
  // The command's name stands in parentheses and may hold blanks; the state is the first after it.
  const letter = stat?.slice(stat.lastIndexOf(")") + 2)[0];
  if (letter === undefined || letter === "Z" || letter === "X") return "ended";
  return letter === "T" || letter === "t" ? "stopped" : "running";
}

/** Of the sockets of this process the one that listens on 127.0.0.1 (proc(5), net/tcp). */
function inspectorPort(pid: number): number | undefined {
  const own = new Set(socketsOf(pid));
  for (const line of (readText(`/proc/${pid}/net/tcp`) ?? "").split("\n").slice(1)) {
    const [, local = "", , socketState, , , , , , inode = ""] = line.trim().split(/\s+/);
    const [address, port = ""] = local.split(":");
    if (socketState === "0A" && address === "0100007F" && own.has(inode)) return parseInt(port, 16);
  }
  return undefined;
}

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const target = readLink(`/proc/${pid}/fd/${fd}`);
      return /^socket:\[(\d+)\]$/.exec(target ?? "")?.[1] ?? [];
    });
  } catch (error) {
    return missing(error) ?? [];
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    return missing(error);
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return missing(error);
  }
}

/** It ended while we looked; anything else is thrown. */
function missing(error: unknown): undefined {
  const code = systemCode(error);
  if (code !== "ENOENT" && code !== "ESRCH") throw error;
  return undefined;
}

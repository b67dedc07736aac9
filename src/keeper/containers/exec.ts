/** Runs a command beside a container: in its cgroup, environment and working directory. For exec probes. */
import { readFileSync, readlinkSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { ContainerSpec, ExecResult } from "../protocol.ts";
import { checkCommand, startInside } from "./shim.ts";

const outputBytesMax = 64 * 1024;
const pipePatienceMs = 200;
const execLookMs = 5;
const execLooksMax = 40;

/**
 * Ended by KILL to its group after `timeoutMs`. Throws `container-command` when there is nothing to
 * run, `container-not-running` when the container went away meanwhile.
 */
export async function runInside(
  deps: { clock: Clock },
  options: {
    pid: number;
    doors: readonly string[];
    argv: readonly string[];
    timeoutMs: number;
    spec: Pick<ContainerSpec, "uid" | "gid">;
  },
): Promise<ExecResult> {
  const { cwd, env } = await surroundings(deps, options.pid);
  checkCommand({ argv: options.argv, env, cwd });
  const child = startInside(options.doors, options.argv, { cwd, env, identity: options.spec });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const closed = Promise.withResolvers<void>();
  child.once("close", () => closed.resolve());
  let timedOut = false;
  const timer = deps.clock.after(options.timeoutMs, () => {
    timedOut = true;
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // Ended in this very moment.
    }
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (exitCode) => resolve(exitCode));
    });
    // What it said last may still be in the pipe; a grandchild may hold the pipe for ever.
    if (!timedOut) await Promise.race([closed.promise, deps.clock.sleep(pipePatienceMs)]);
    return {
      ...(timedOut || code === null ? {} : { code }),
      stdout: stdout(),
      stderr: stderr(),
      timedOut,
    };
  } finally {
    timer.cancel();
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

function collect(stream: Readable | null): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream?.on("data", (chunk: Buffer) => {
    if (bytes < outputBytesMax) chunks.push(chunk.subarray(0, outputBytesMax - bytes));
    bytes += chunk.length;
  });
  return () => Buffer.concat(chunks).toString();
}

/** What the container's first process was started with; nobody had to keep it. */
async function surroundings(
  deps: { clock: Clock },
  pid: number,
): Promise<{ cwd: string; env: Record<string, string> }> {
  try {
    const env = await readEnvironment(deps, () => readFileSync(`/proc/${pid}/environ`, "utf8"));
    return { cwd: readlinkSync(`/proc/${pid}/cwd`), env };
  } catch (cause) {
    throw new SkerryError({
      code: "container-not-running",
      message: `process ${pid} cannot be looked into`,
      cause,
    });
  }
}

/**
 * The kernel shows nothing of a process that is becoming another by execve (setsid, then the command),
 * so nothing is looked at again for a while; a container without any variable takes that long.
 */
export async function readEnvironment(
  { clock }: { clock: Clock },
  read: () => string,
): Promise<Record<string, string>> {
  let text = read();
  for (let look = 0; text === "" && look < execLooksMax; look++) {
    await clock.sleep(execLookMs);
    text = read();
  }
  return Object.fromEntries(
    text
      .split("\0")
      .filter(Boolean)
      .map((entry) => {
        const split = entry.indexOf("=");
        return [entry.slice(0, split), entry.slice(split + 1)];
      }),
  );
}

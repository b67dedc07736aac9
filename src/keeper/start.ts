/** Starts the keeper process, detached from this one and its terminal. */
import { closeSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { entryUrl, startEntry } from "../runtime/child/index.ts";
import { signalProcess, type ProcessIdentity } from "../runtime/process/index.ts";
import { lockHolder } from "../runtime/lock/index.ts";
import { ensureKeeperFolders, keeperPaths, type KeeperPaths } from "./paths.ts";

/** The log is moved aside at a start when it has grown beyond this. */
const logBytesMax = 1024 * 1024;

/** It allocates little, and compiles next to nothing once it runs: a small young generation, one helper. */
const nodeArgs = ["--max-semi-space-size=1", "--v8-pool-size=1"];

/** For tests and for hosts whose cgroups shall not be touched. */
export type KeeperFlags = {
  readonly cgroups?: boolean;
  readonly logFileBytesMax?: number;
  readonly logFilesMax?: number;
};

/** Pid of the living keeper of this data folder; undefined when there is none. */
export function keeperPid(dataDir: string): number | undefined {
  return lockHolder(keeperPaths(dataDir).lock)?.pid;
}

/**
 * Starts one unless one lives (then false). Resolves before it listens: connect with patience.
 * Throws `keeper-start` when the process cannot be made.
 */
export async function startKeeper(dataDir: string, flags: KeeperFlags = {}): Promise<boolean> {
  const paths = keeperPaths(dataDir);
  ensureKeeperFolders(paths);
  if (lockHolder(paths.lock)) return false;
  const logFd = openLog(paths);
  try {
    const child = startEntry(entryUrl(import.meta.url, "./keeper.entry"), {
      args: [
        dataDir,
        ...(flags.cgroups === false ? ["--no-cgroups"] : []),
        ...(flags.logFileBytesMax === undefined
          ? []
          : ["--log-file-bytes", String(flags.logFileBytesMax)]),
        ...(flags.logFilesMax === undefined ? [] : ["--log-files", String(flags.logFilesMax)]),
      ],
      nodeArgs,
      detached: true,
      // Files, not pipes: whoever started the keeper may end before it.
      stdio: ["ignore", logFd, logFd],
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (cause) =>
        reject(
          new SkerryError({
            code: "keeper-start",
            message: "the keeper cannot be started",
            retryable: true,
            cause,
          }),
        ),
      );
    });
    return true;
  } finally {
    closeSync(logFd);
  }
}

function openLog(paths: KeeperPaths): number {
  const fd = openSync(paths.log, "a", 0o600);
  if (statSync(paths.log).size <= logBytesMax) return fd;
  closeSync(fd);
  renameSync(paths.log, `${paths.log}.1`);
  return openSync(paths.log, "a", 0o600);
}

/**
 * Ends the keeper of this data folder, of whatever version, without touching agent or pods: the next
 * keeper adopts them. With `agent` its process is killed as well, before the keeper could start it
 * again: for a keeper that cannot be spoken to. Nothing when none lives. Throws `keeper-alive`.
 */
export async function releaseKeeper(
  dataDir: string,
  deps: { clock: Clock },
  options: { agent?: ProcessIdentity } = {},
): Promise<void> {
  const paths = keeperPaths(dataDir);
  const holder = lockHolder(paths.lock);
  if (!holder) return;
  if (options.agent) {
    // Held still, it cannot answer the death of its agent by starting it.
    signalProcess(holder, "SIGSTOP");
    signalProcess(options.agent, "SIGKILL");
    rmSync(paths.agent, { force: true });
  }
  signalProcess(holder, options.agent ? "SIGKILL" : "SIGTERM");
  await waitKeeperGone(deps, dataDir, 10_000);
}

/** Waits until nobody holds the lock. Throws `keeper-alive` after `timeoutMs`. */
export async function waitKeeperGone(
  deps: { clock: Clock },
  dataDir: string,
  timeoutMs: number,
): Promise<void> {
  const untilMs = deps.clock.monotonicMs() + timeoutMs;
  for (;;) {
    const pid = keeperPid(dataDir);
    if (pid === undefined) return;
    if (deps.clock.monotonicMs() >= untilMs) {
      throw new SkerryError({
        code: "keeper-alive",
        message: `the keeper (pid ${pid}) has not ended within ${timeoutMs} ms`,
        retryable: true,
      });
    }
    await deps.clock.sleep(20);
  }
}

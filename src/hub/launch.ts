/** The hub as a process in the background: started once, adopted when it lives, stopped by pid and start time. */
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { entryUrl, exited, startEntry } from "../runtime/child/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { mallocEnvironment } from "../runtime/heap/index.ts";
import { findInfo } from "../runtime/local/index.ts";
import { lockHolder, releaseLock, takeLock } from "../runtime/lock/index.ts";
import { isAlive, type ProcessIdentity } from "../runtime/process/index.ts";
import type { HubConfig } from "./config.ts";

/** `hub.info.json`: written when the hub is ready, replaced at every start. */
export type HubInfo = {
  readonly name: string;
  readonly dataDir: string;
  /** HOST:PORT */
  readonly address: string;
  readonly pid: number;
  readonly process: ProcessIdentity;
};

export const hubLogPath = (dataDir: string) => join(dataDir, "logs", "hub.log");

const readyTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;
const pollMs = 50;

const lockPath = (dataDir: string) => join(dataDir, "hub.lock");

/** For as long as this process lives. Throws `hub-running` when another one has the folder. */
export function lockHubFolder(dataDir: string): { release(): void } {
  const path = lockPath(dataDir);
  const lock = takeLock(path);
  if (lock.state === "held") return { release: () => releaseLock(path, lock.identity) };
  throw new SkerryError({
    code: "hub-running",
    message: `another hub (pid ${lock.by.pid}) runs in ${dataDir}`,
    hint: `stop it with skerry down --data ${dataDir}, or use another folder`,
  });
}

/** The hub that lives in this folder now. */
export function runningHub(dataDir: string): HubInfo | undefined {
  const info = findInfo<HubInfo>(dataDir, "hub");
  return info && isAlive(info.process) ? info : undefined;
}

/** As on a node: garbage is a third of what is alive, not several times as much. */
const hubNodeArgs = ["--initial-old-space-size=16", "--heap-growing-percent=30"];

/** Resolves when it is ready. Throws `hub-start-failed` with what it said. */
export async function startHub(config: HubConfig, deps: { clock: Clock }): Promise<HubInfo> {
  const running = runningHub(config.dataDir);
  if (running) return running;
  const logPath = hubLogPath(config.dataDir);
  ensureDirectory(dirname(logPath));
  const logFd = openSync(logPath, "a", 0o600);
  const { postgres, ...open } = config;
  const child = startEntry(entryUrl(import.meta.url, "./hub.entry"), {
    args: [JSON.stringify(open)],
    nodeArgs: hubNodeArgs,
    env: mallocEnvironment,
    detached: true,
    stdio: ["pipe", logFd, logFd],
  });
  // Everybody on the machine can read arguments, and a password may stand in this. An end before it
  // was read shows below.
  child.stdin?.on("error", () => {});
  child.stdin?.end(postgres ?? "");
  closeSync(logFd);
  let ended = false;
  const end = () => (ended = true);
  void exited(child).then(end, end);
  const giveUpMs = deps.clock.monotonicMs() + readyTimeoutMs;
  for (;;) {
    const info = runningHub(config.dataDir);
    // Of two started at once one gets the folder; the other's command answers with it as well.
    if (info && (ended || info.pid === child.pid)) return info;
    const isOver = ended && lockHolder(lockPath(config.dataDir)) === undefined;
    if (isOver || deps.clock.monotonicMs() > giveUpMs) {
      const said = readFileSync(logPath, "utf8").trim().split("\n").at(-1) ?? "";
      throw new SkerryError({
        code: "hub-start-failed",
        message: `the hub did not get ready: ${said}`,
        hint: `its log: ${logPath}`,
      });
    }
    await deps.clock.sleep(pollMs);
  }
}

/** Drains and ends it; false when none was running. Throws `stop-timeout`. */
export async function stopHub(dataDir: string, deps: { clock: Clock }): Promise<boolean> {
  const running = runningHub(dataDir);
  if (!running) return false;
  process.kill(running.pid, "SIGTERM");
  const giveUpMs = deps.clock.monotonicMs() + stopTimeoutMs;
  while (isAlive(running.process)) {
    if (deps.clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "stop-timeout",
        message: `the hub (pid ${running.pid}) did not end within ${stopTimeoutMs / 1000} s`,
        hint: "look into its log; end it with SIGKILL, which loses nothing that was acknowledged",
      });
    }
    await deps.clock.sleep(pollMs);
  }
  return true;
}

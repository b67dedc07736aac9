/**
 * One container from its start to its recorded end. The truth is outside: the shim's files and
 * /proc. A container started by this keeper and one adopted from its predecessor differ only in how
 * soon the end is noticed (the shim's exit event, or a look every 200 ms).
 */
import { closeSync } from "node:fs";
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { writeRecordAsync } from "../../runtime/files/index.ts";
import { identifyProcess, isAlive, type ProcessIdentity } from "../../runtime/process/index.ts";
import type { ContainerSpec, ContainerState, ContainerStatus, ExitReason } from "../protocol.ts";
import type { Cgroups } from "./cgroups.ts";
import type { ContainerLog } from "./logs.ts";
import {
  exitOfStatus,
  readExitStatus,
  readPid,
  type ContainerFiles,
  type ContainerRecord,
} from "./record.ts";
import { startShim } from "./shim.ts";

const lookMs = 200;
/** How long the shim may take to write a file after the fact; a loaded machine takes long. */
const shimPatienceMs = 5_000;
/** A process that SIGKILL does not end within this waits for a device. */
const killPatienceMs = 15_000;

export type ContainerDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly cgroups: Cgroups;
  readonly onChange: (status: ContainerStatus) => void;
};

export interface Container {
  readonly status: ContainerStatus;
  readonly record: ContainerRecord;
  readonly log: ContainerLog;
  /** The process now, when one runs. */
  readonly identity: ProcessIdentity | undefined;
  /** Runs the command. Throws when the shim cannot be started; a command that fails is an exit. */
  start(env: ContainerSpec["env"]): Promise<void>;
  /** Finds out what became of it since another keeper held it. */
  adopt(): Promise<void>;
  /** TERM to its group, after the grace KILL to all of it. Asked again, the shorter grace counts. */
  stop(graceMs: number, reason: ExitReason): Promise<ContainerStatus>;
  /** No more timers; the process goes on. */
  release(): void;
}

export function createContainer(
  deps: ContainerDeps,
  init: { record: ContainerRecord; files: ContainerFiles; containerLog: ContainerLog },
): Container {
  const { clock, log, cgroups } = deps;
  const { files, containerLog } = init;
  let record = init.record;
  let current: ContainerState = { state: "starting" };
  let identity: ProcessIdentity | undefined;
  let shim: ProcessIdentity | undefined;
  let shimExited = false;
  let startedMs: number | undefined;
  let looking: Timer | undefined;
  let killing: { timer: Timer; atMs: number } | undefined;
  let killReason: ExitReason | undefined;
  let ending: Promise<void> | undefined;
  const ended = Promise.withResolvers<void>();

  const status = (): ContainerStatus => ({
    id: record.spec.id,
    labels: record.spec.labels,
    argv: record.spec.argv,
    current,
    enforcement: record.enforcement,
    logDirectory: files.logs,
  });
  const become = (next: ContainerState) => {
    current = next;
    deps.onChange(status());
  };

  const foundRunning = (found: ShimReport, sinceMs: number) => {
    identity = found.command;
    shim = found.shim;
    startedMs = sinceMs;
    if (isAlive(identity)) become({ state: "running", pid: identity.pid, startedMs: sinceMs });
  };

  const signalGroup = (signal: "SIGTERM" | "SIGKILL") => {
    if (!identity || !isAlive(identity)) return;
    try {
      process.kill(-identity.pid, signal);
    } catch {
      // No such group: it has not come to setsid(1) yet, or is gone.
      try {
        process.kill(identity.pid, signal);
      } catch {
        // Gone: the look at its end is on its way.
      }
    }
  };

  const killAll = () => {
    signalGroup("SIGKILL");
    if (record.enforcement.kill === "cgroup") cgroups.kill(record.cgroup);
  };

  /** The command has ended: kill what it left behind, read how it ended, make that durable. */
  const end = () => {
    ending ??= concludeEnd().catch((error: unknown) => {
      log.error("a container's end could not be concluded; it is tried again", {
        container: record.spec.id,
        error,
      });
      ending = undefined;
      looking = clock.after(shimPatienceMs, look);
    });
    return ending;
  };
  const concludeEnd = async () => {
    looking?.cancel();
    killing?.timer.cancel();
    // A command may end before anybody has looked whom the shim started.
    const leader = identity ?? readPid(files.pid, record.bootId)?.command;
    if (leader) startedMs ??= record.createdMs;
    const known = await waitForExitStatus();
    // A group outlives its leader; where the pid is somebody else's by now, it has not.
    if (leader && !identifyProcess(leader.pid)) killGroupOf(leader.pid);
    if (record.enforcement.kill === "cgroup") await emptyCgroup();
    const oom = cgroups.oomKills(record.cgroup) > 0;
    await removeCgroup();
    await containerLog.finish();
    const reason: ExitReason =
      killReason ?? (leader === undefined ? "start-failed" : oom ? "oom" : "exited");
    const exit =
      known === undefined
        ? { reason: killReason ?? ("unknown" as const) }
        : exitOfStatus(known, reason);
    const endedMs = clock.wallMs();
    record = {
      ...record,
      ended: { exit, endedMs, ...(startedMs === undefined ? {} : { startedMs }) },
    };
    try {
      await writeRecordAsync(files.record, record);
    } catch (error) {
      // Still in memory, and the shim's exit file says it again to the next keeper.
      log.error("a container's end cannot be recorded", { container: record.spec.id, error });
    }
    become({ state: "exited", exit, startedMs, endedMs });
    ended.resolve();
  };

  const waitForExitStatus = async (): Promise<number | undefined> => {
    const untilMs = clock.monotonicMs() + shimPatienceMs;
    for (;;) {
      const over = shimExited || !shim || !isAlive(shim) || clock.monotonicMs() >= untilMs;
      const found = readExitStatus(files.exit);
      if (found !== undefined || over) return found;
      await clock.sleep(5);
    }
  };

  const emptyCgroup = async () => {
    const untilMs = clock.monotonicMs() + killPatienceMs;
    while (cgroups.members(record.cgroup).length > 0) {
      cgroups.kill(record.cgroup);
      if (clock.monotonicMs() > untilMs) {
        log.error("processes of a container cannot be killed", {
          container: record.spec.id,
          pids: cgroups.members(record.cgroup),
        });
        return;
      }
      await clock.sleep(5);
    }
  };

  const removeCgroup = async () => {
    for (let attempt = 0; attempt < 50; attempt++) {
      if (cgroups.remove(record.cgroup)) return;
      await clock.sleep(10);
    }
    log.warn("the cgroup of a container cannot be removed", { container: record.spec.id });
  };

  const look = () => {
    if (ending) return;
    if (identity && isAlive(identity)) looking = clock.after(lookMs, look);
    else void end();
  };

  return {
    get status() {
      return status();
    },
    get record() {
      return record;
    },
    get identity() {
      return identity;
    },
    log: containerLog,

    async start(env) {
      const doors = cgroups.create(record.cgroup, record.spec.limits);
      await writeRecordAsync(files.record, record);
      const { stdoutFd, stderrFd } = containerLog.openSpool();
      const child = (() => {
        try {
          return startShim(
            { ...record.spec, env },
            { directory: files.directory, doors, stdoutFd, stderrFd },
          );
        } finally {
          closeSync(stdoutFd);
          closeSync(stderrFd);
        }
      })();
      const failed = Promise.withResolvers<never>();
      failed.promise.catch(() => {});
      child.once("error", (error) => failed.reject(error));
      child.once("exit", () => {
        shimExited = true;
        look();
      });
      const sinceMs = clock.wallMs();
      const found = await Promise.race([failed.promise, waitForPid(() => shimExited)]);
      if (found) foundRunning(found, sinceMs);
      if (shimExited) look();
    },

    async adopt() {
      if (record.ended) {
        const { exit, endedMs } = record.ended;
        startedMs = record.ended.startedMs;
        current = { state: "exited", exit, startedMs, endedMs };
        ending = Promise.resolve();
        ended.resolve();
        return;
      }
      if (record.bootId !== bootIdNow()) return end();
      const found = await waitForPid(() => readExitStatus(files.exit) !== undefined);
      if (found) foundRunning(found, record.createdMs);
      else if (record.enforcement.kill === "cgroup") cgroups.kill(record.cgroup);
      look();
    },

    async stop(graceMs, reason) {
      if (current.state === "exited") return status();
      if (current.state === "running") {
        killReason ??= reason;
        become({ ...current, state: "stopping" });
        signalGroup("SIGTERM");
      }
      const atMs = clock.monotonicMs() + graceMs;
      if (!killing || atMs < killing.atMs) {
        killing?.timer.cancel();
        killing = { atMs, timer: clock.after(graceMs, killAll) };
      }
      const stuck = Promise.withResolvers<never>();
      const late = clock.after(graceMs + killPatienceMs, () =>
        stuck.reject(
          new SkerryError({
            code: "container-stuck",
            message: `${record.spec.id} does not end, not even by SIGKILL`,
            hint: "a process that waits for a device cannot be killed; look for state D in ps",
            retryable: true,
          }),
        ),
      );
      try {
        await Promise.race([ended.promise, stuck.promise]);
      } finally {
        late.cancel();
      }
      return status();
    },

    release() {
      looking?.cancel();
      killing?.timer.cancel();
    },
  };

  /** Waits for the shim to say whom it started; `over` says that it cannot any more. */
  async function waitForPid(over: () => boolean): Promise<ShimReport | undefined> {
    const untilMs = clock.monotonicMs() + shimPatienceMs;
    for (;;) {
      const last = over();
      const found = readPid(files.pid, record.bootId);
      if (found) return found;
      if (last || clock.monotonicMs() > untilMs) return undefined;
      await clock.sleep(2);
    }
  }
}

type ShimReport = NonNullable<ReturnType<typeof readPid>>;

/** The leader is gone, its group may not be. */
function killGroupOf(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody left.
  }
}

function bootIdNow(): string {
  return identifyProcess(process.pid)?.bootId ?? "";
}

/**
 * Runs the agent and runs it again when it dies. The first death is answered at once, so that a node
 * is back within two seconds; who keeps dying waits longer each time. A keeper that was started anew
 * finds the agent of its predecessor by pid and start time instead of starting a second one.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { createBackoff } from "../lib/backoff.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { readRecord, writeRecordAsync } from "../runtime/files/index.ts";
import {
  environment,
  identifyProcess,
  isAlive,
  signalProcess,
  type ProcessIdentity,
} from "../runtime/process/index.ts";
import type { AgentSpec, AgentState } from "./protocol.ts";

/** An agent that an earlier keeper started is no child of this one: its end is seen by looking. */
const lookMs = 200;
/** The end of a child is told by itself. */
const childLookMs = 1000;
/** An agent that lived this long was well: its next death is answered at once again. */
const wellAfterMs = 30_000;
const backoffOptions = { initialMs: 500, maxMs: 30_000 };

type AgentRecord = {
  readonly spec: AgentSpec;
  /** False after a stop on request: nobody wants it now. */
  readonly wanted: boolean;
  readonly identity?: ProcessIdentity;
};

export interface AgentProcess {
  readonly state: AgentState;
  /** The process runs; whether it answers is another question. */
  alive(): boolean;
  /** Finds the agent that an earlier keeper started, or starts it when it was wanted and is gone. */
  adopt(): Promise<void>;
  /** Runs it from now on; a running one with the same or another specification stays until its end. */
  start(spec: AgentSpec): Promise<AgentState>;
  /** TERM, and KILL after the grace. It stays down until `start`. */
  stop(graceMs: number): Promise<AgentState>;
  /** Watches no more; the agent goes on. */
  close(): void;
}

export function createAgentProcess(
  deps: {
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
    readonly onChange: (state: AgentState) => void;
  },
  options: { recordPath: string },
): AgentProcess {
  const { clock, log } = deps;
  const backoff = createBackoff(deps, backoffOptions);
  let spec: AgentSpec | undefined;
  let wanted = false;
  let identity: ProcessIdentity | undefined;
  let startedMs = 0;
  let restarts = 0;
  let state: AgentState = { state: "none" };
  let timer: Timer | undefined;
  let saving: Promise<void> = Promise.resolve();
  let gone = Promise.withResolvers<void>();
  /** Started by this keeper, so that its exit code will be told; an adopted one has none. */
  let child: ChildProcess | undefined;
  /** True until the first process after `start` has ended. */
  let isFirst = false;

  const become = (next: AgentState) => {
    state = next;
    deps.onChange(next);
  };
  const save = () => {
    if (!spec) return saving;
    const record: AgentRecord = { spec, wanted, ...(identity ? { identity } : {}) };
    saving = saving
      .then(() => writeRecordAsync(options.recordPath, record))
      // The agent runs all the same; only a new keeper would not know of it.
      .catch((error: unknown) => log.error("the agent's record cannot be written", { error }));
    return saving;
  };

  const running = () => identity !== undefined && isAlive(identity);
  const watch = () => {
    timer?.cancel();
    const isOwn = child !== undefined && child.pid === identity?.pid;
    const exitComes = isOwn && child?.exitCode === null && child.signalCode === null;
    if (running() || exitComes) timer = clock.after(isOwn ? childLookMs : lookMs, watch);
    else ended();
  };
  const watched = (found: ProcessIdentity) => {
    identity = found;
    startedMs = clock.monotonicMs();
    gone = Promise.withResolvers<void>();
    become({ state: "running", pid: found.pid, restarts });
    watch();
  };

  const launch = () => {
    timer?.cancel();
    if (!spec || !wanted || running()) return;
    const current = spec;
    try {
      mkdirSync(dirname(current.logPath), { recursive: true, mode: 0o700 });
      const logFd = openSync(current.logPath, "a", 0o600);
      try {
        const started = spawn(
          current.node ?? process.execPath,
          [
            "--disable-warning=ExperimentalWarning",
            ...(current.nodeArgs ?? []),
            current.entry,
            ...current.args,
          ],
          {
            // Files, not pipes: the agent outlives this keeper.
            stdio: ["ignore", logFd, logFd],
            env: { ...environment, ...current.env },
            detached: true,
            ...(current.cwd === undefined ? {} : { cwd: current.cwd }),
          },
        );
        child = started;
        started.unref();
        started.once("error", (error) => log.error("the agent cannot be started", { error }));
        started.once("exit", (code, signal) => {
          if (identity?.pid !== started.pid) return;
          log.warn("the agent ended", { pid: started.pid, code, signal });
          if (isFirst && code !== null && code === current.hopelessExitCode) giveUp();
          ended();
        });
        const found = started.pid === undefined ? undefined : identifyProcess(started.pid);
        if (!found) return plan();
        log.info("the agent started", { pid: found.pid, restarts });
        watched(found);
        void save();
      } finally {
        closeSync(logFd);
      }
    } catch (error) {
      log.error("the agent cannot be started", { error });
      plan();
    }
  };

  /** Who asked for it is told at once, and nothing runs on. */
  const giveUp = () => {
    wanted = false;
    void save();
  };

  /** When it is started again. */
  const plan = () => {
    timer?.cancel();
    const livedMs = identity ? clock.monotonicMs() - startedMs : 0;
    if (livedMs >= wellAfterMs) backoff.reset();
    const delayMs = backoff.attempts === 0 ? 0 : backoff.nextMs();
    if (backoff.attempts === 0) backoff.nextMs();
    identity = undefined;
    restarts++;
    become({ state: "waiting", restarts, restartInMs: Math.round(delayMs) });
    timer = clock.after(delayMs, launch);
  };

  const ended = () => {
    if (!identity) return;
    timer?.cancel();
    gone.resolve();
    isFirst = false;
    if (wanted) return plan();
    identity = undefined;
    become({ state: "none" });
  };

  return {
    get state() {
      return state;
    },
    alive: running,
    async adopt() {
      const record = readRecord(options.recordPath) as AgentRecord | undefined;
      if (!record) return;
      spec = record.spec;
      wanted = record.wanted;
      if (record.identity && isAlive(record.identity)) {
        log.info("the agent is adopted", { pid: record.identity.pid });
        watched(record.identity);
      } else if (wanted) launch();
    },
    async start(next) {
      checkAgentSpec(next);
      spec = next;
      wanted = true;
      isFirst = !running();
      // Who asks now does not mean to wait for the backoff.
      backoff.reset();
      if (!running()) launch();
      await save();
      return state;
    },
    async stop(graceMs) {
      wanted = false;
      timer?.cancel();
      await save();
      const target = identity;
      if (!target || !isAlive(target)) {
        identity = undefined;
        if (state.state !== "none") become({ state: "none" });
        return state;
      }
      become({ state: "stopping", pid: target.pid });
      signalProcess(target, "SIGTERM");
      const kill = clock.after(graceMs, () => signalProcess(target, "SIGKILL"));
      watch();
      await gone.promise;
      kill.cancel();
      await save();
      return state;
    },
    close: () => timer?.cancel(),
  };
}

function checkAgentSpec(spec: AgentSpec): void {
  const texts = (value: unknown): boolean =>
    Array.isArray(value) && value.every((text) => typeof text === "string");
  const field =
    typeof spec?.entry !== "string" || !spec.entry.startsWith("/")
      ? "entry"
      : !texts(spec.args)
        ? "args"
        : !texts(spec.nodeArgs ?? [])
          ? "nodeArgs"
          : typeof spec.env !== "object" || spec.env === null
            ? "env"
            : typeof spec.logPath !== "string" || !spec.logPath.startsWith("/")
              ? "logPath"
              : spec.node !== undefined && !String(spec.node).startsWith("/")
                ? "node"
                : undefined;
  if (field === undefined) return;
  throw new SkerryError({
    code: "invalid-agent",
    message: `agent ${field}: ${JSON.stringify(spec?.[field])} is not allowed`,
    hint: "entry, logPath and node are absolute paths, args and nodeArgs lists of texts, env texts by name",
  });
}

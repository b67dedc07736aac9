/**
 * Keeps one etcd member running: adopts the process that a former agent left, starts it again with a
 * growing pause when it ends, and tells what its log says. Disposing ends the supervision, not the
 * process. A member that the cluster removed stays down: its data belongs to nobody any more.
 */
import { createBackoff } from "../../../lib/backoff.ts";
import type { MonotonicMs } from "../../../lib/brand.ts";
import type { Timer } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { nameSuffix } from "../../../lib/random.ts";
import { createSignals } from "../../../lib/signals.ts";
import { ensureDirectory } from "../../../runtime/files/index.ts";
import type { EtcdProcessHost, EtcdProcessStatus } from "../../ports.ts";
import type { EtcdDeps } from "../types.ts";
import { etcdCommand, type EtcdMemberOptions } from "./flags.ts";
import { eventOfLine, type EtcdEvent } from "./log-events.ts";
import { followLog } from "./log-files.ts";
import { digestOf, noteVersion, usableVersion } from "./installed.ts";
import { versionText } from "./version.ts";

/** The label that tells these containers from pods; its value is the member's name. */
export const etcdLabel = "skerry.dev/ledger-member";
const commandLabel = "skerry.dev/ledger-command";
const versionLabel = "skerry.dev/ledger-version";

/** etcd ends within milliseconds after TERM, unless its disk is slow. */
const graceMs = 10_000;
/** One that ran for so long starts again without a pause. */
const lastedMs = 60_000;
const lastLinesMax = 20;

export type EtcdSupervisorOptions = {
  /** `etcd`, or its path. */
  readonly binary: string;
  /** Asked at each start: timers may have changed. */
  readonly member: () => EtcdMemberOptions;
  /** For looking the binary up. */
  readonly path?: string;
};

export type EtcdState =
  | { readonly state: "stopped" }
  | { readonly state: "starting" }
  /** `isOutdated`: the flags or the binary are others by now; see `restart`. */
  | {
      readonly state: "running";
      readonly pid: number;
      readonly version: string;
      readonly isOutdated: boolean;
    }
  | { readonly state: "waiting"; readonly restarts: number; readonly lastWords: string }
  /** It stays down until somebody does something: `member-removed`, `ledger-data-newer`, … */
  | { readonly state: "refused"; readonly error: SkerryError };

export type EtcdSupervisorEvents = { log: EtcdEvent; state: EtcdState };

export interface EtcdSupervisor extends AsyncDisposable {
  /**
   * Adopts the running process, or starts one. Throws `etcd-missing`, `etcd-unsupported`,
   * `ledger-data-newer`, or what the host throws.
   */
  start(): Promise<void>;
  /** Stops it and starts it anew, with the flags and the binary of now. Throws as `start`. */
  restart(): Promise<void>;
  /** Stops it and leaves it so; its data stays. */
  stop(): Promise<void>;
  state(): EtcdState;
  on<Name extends keyof EtcdSupervisorEvents>(
    name: Name,
    listener: (event: EtcdSupervisorEvents[Name]) => void,
  ): () => void;
}

export function createEtcdSupervisor(
  deps: EtcdDeps & { host: EtcdProcessHost },
  options: EtcdSupervisorOptions,
): EtcdSupervisor {
  const { clock, random, host } = deps;
  const log = deps.log.child({ room: "ledger" });
  const signals = createSignals<EtcdSupervisorEvents>({
    onListenerError: (error) => log.error("a listener of etcd's events failed", { error }),
  });
  const backoff = createBackoff(deps, { initialMs: 500, maxMs: 30_000 });
  let current: EtcdState = { state: "stopped" };
  let held:
    | { id: string; sinceMs: MonotonicMs; isOutdated: boolean; log: { stop(): Promise<void> } }
    | undefined;
  let isWanted = false;
  let retry: Timer | undefined;
  let lastLines: string[] = [];
  /** One thing after the other: starts, stops and what the host tells. */
  let turn: Promise<void> = Promise.resolve();

  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = turn.then(work);
    turn = done.catch(() => {});
    return done;
  };

  const become = (next: EtcdState) => {
    current = next;
    signals.emit("state", next);
  };

  const onLine = (text: string) => {
    lastLines = [...lastLines.slice(1 - lastLinesMax), text];
    const event = eventOfLine(text);
    if (!event) return;
    signals.emit("log", event);
    if (event.kind === "removed") refuse(removed(options.member().name));
  };

  const refuse = (error: SkerryError) => {
    isWanted = false;
    retry?.cancel();
    become({ state: "refused", error });
  };

  const running = (status: EtcdProcessStatus) => {
    if (status.current.state !== "running" || !held || current.state === "refused") return;
    const { pid } = status.current;
    const version = status.labels[versionLabel] ?? "";
    become({ state: "running", pid, version, isOutdated: held.isOutdated });
  };

  const take = (status: EtcdProcessStatus, from: "start" | "end", isOutdated: boolean) => {
    const followed = followLog(
      { clock, onError: (error) => log.debug("etcd's log cannot be read", { error }) },
      { directory: status.logDirectory, from, onLine },
    );
    held = { id: status.id, sinceMs: clock.monotonicMs(), isOutdated, log: followed };
    become({ state: "starting" });
    running(status);
  };

  const isOurs = (status: EtcdProcessStatus) => status.labels[etcdLabel] === options.member().name;

  /** Whether it runs by other flags or another binary than it would now; never for one that could not go on. */
  const isOutdated = async ({ labels }: EtcdProcessStatus): Promise<boolean> => {
    const member = options.member();
    try {
      return (
        labels[commandLabel] !==
        digestOf(member, await usableVersion(options.binary, member.dataDir))
      );
    } catch (error) {
      log.error("the etcd that is installed cannot take over: the member runs on as it is", {
        error,
      });
      return false;
    }
  };

  const launch = async () => {
    const member = options.member();
    const version = await usableVersion(options.binary, member.dataDir);
    ensureDirectory(member.dataDir);
    const command = etcdCommand(member, version);
    lastLines = [];
    const status = await host.start({
      id: `etcd-${member.name}-${nameSuffix(random, 8)}`,
      argv: [options.binary, ...command.args],
      env: { PATH: options.path ?? "/usr/local/bin:/usr/bin:/bin", ...command.env },
      cwd: member.dataDir,
      limits: {},
      labels: {
        [etcdLabel]: member.name,
        [commandLabel]: digestOf(member, version),
        [versionLabel]: versionText(version),
      },
      graceMs,
    });
    noteVersion(member.dataDir, version);
    take(status, "start", false);
  };

  const release = async () => {
    const was = held;
    held = undefined;
    await was?.log.stop();
  };

  const end = async () => {
    const was = held;
    if (!was) return;
    await host.stop(was.id, { graceMs });
    await release();
    await host.remove(was.id);
  };

  const relaunch = () => {
    retry?.cancel();
    retry = clock.after(backoff.nextMs(), () => {
      inTurn(async () => {
        if (!isWanted || held) return;
        await launch();
      }).catch((error: unknown) => {
        if (isWanted && error instanceof SkerryError && !error.retryable) return refuse(error);
        log.error("etcd cannot be started; tried again", { error });
        relaunch();
      });
    });
  };

  const onExit = async (status: EtcdProcessStatus) => {
    if (held?.id !== status.id) return;
    const ranMs = clock.monotonicMs() - held.sinceMs;
    await release();
    await host.remove(status.id);
    if (!isWanted) return;
    if (ranMs >= lastedMs) backoff.reset();
    const lastWords = lastLines.slice(-3).join("\n");
    log.warn("etcd ended; it is started again", { exit: status.current, lastWords });
    become({ state: "waiting", restarts: backoff.attempts, lastWords });
    relaunch();
  };

  const look = async (status: EtcdProcessStatus) => {
    if (!isOurs(status) || held?.id !== status.id) return;
    if (status.current.state === "exited") await onExit(status);
    else if (current.state === "starting") running(status);
  };

  const stopListening = host.onChange((status) => {
    inTurn(async () => {
      for (const one of status ? [status] : await host.list()) await look(one);
    }).catch((error: unknown) => log.warn("etcd's process cannot be looked at", { error }));
  });

  const adopt = async (): Promise<boolean> => {
    const ours = (await host.list()).filter(isOurs);
    const alive = ours.find(
      ({ current: { state } }) => state === "running" || state === "starting",
    );
    for (const old of ours) {
      if (old !== alive && old.current.state === "exited") await host.remove(old.id);
    }
    if (!alive) return false;
    take(alive, "end", await isOutdated(alive));
    log.info("etcd goes on as it ran", { id: alive.id });
    return true;
  };

  return {
    start: () =>
      inTurn(async () => {
        isWanted = true;
        if (held) return;
        if (!(await adopt())) await launch();
      }),
    restart: () =>
      inTurn(async () => {
        isWanted = true;
        // What could not follow must not end what runs.
        if (held) await usableVersion(options.binary, options.member().dataDir);
        retry?.cancel();
        await end();
        backoff.reset();
        await launch().catch((error: unknown) => {
          // The one before it is gone: whoever wanted the restart need not ask again.
          if (!(error instanceof SkerryError) || error.retryable) relaunch();
          throw error;
        });
      }),
    stop: () =>
      inTurn(async () => {
        isWanted = false;
        retry?.cancel();
        if (!held) await adopt();
        await end();
        become({ state: "stopped" });
      }),
    state: () => current,
    on: (name, listener) => signals.on(name, listener),
    async [Symbol.asyncDispose]() {
      isWanted = false;
      retry?.cancel();
      stopListening();
      await turn;
      await release();
    },
  };
}

const removed = (name: string) =>
  new SkerryError({
    code: "member-removed",
    message: `the cluster removed the member ${name}: its data is of no use any more`,
    hint: `to let it take part again, add it as a new one: skerry server add ${name}`,
  });

/**
 * The keeper as the agent and the command line see it. The connection is made again whenever it
 * breaks, and with `revive` a dead keeper is replaced: agent and keeper watch each other, so that
 * only the loss of both at once needs somebody from outside. What a keeper forgets with its process
 * (what to beat) is told to the new one.
 */
import { createBackoff } from "../lib/backoff.ts";
import { every, type Clock, type Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { createSignals } from "../lib/signals.ts";
import { dialKeeper, lost, type Connection } from "./connection.ts";
import { keeperPaths, readSocketPath } from "./paths.ts";
import type {
  AgentSpec,
  AgentState,
  BeatConfiguration,
  ClientRole,
  ContainerSpec,
  ContainerStatus,
  ExecResult,
  Hello,
  KeeperStatus,
  MethodName,
  Methods,
} from "./protocol.ts";
import { startKeeper, waitKeeperGone, type KeeperFlags } from "./start.ts";

export type KeeperDeps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

export type KeeperClientOptions = {
  /** `agent`: this process is the supervised agent and pings the keeper. Default `tool`. */
  readonly role?: ClientRole;
  /** Start a new keeper when none lives. Default false. */
  readonly revive?: boolean;
  readonly flags?: KeeperFlags;
  /** How long a request waits for a connection. Default 10 s. */
  readonly connectTimeoutMs?: number;
};

export type KeeperEvents = {
  container: ContainerStatus;
  agent: AgentState;
  /** A connection stands, to the keeper named; what happened meanwhile is in `list`. */
  connected: Hello;
  disconnected: {};
};

/** What the process driver needs; bound to its `ProcessHost` port by a root. */
export interface KeeperProcesses {
  start(spec: ContainerSpec): Promise<ContainerStatus>;
  stop(id: string, options: { graceMs: number }): Promise<ContainerStatus>;
  remove(id: string): Promise<void>;
  list(): Promise<readonly ContainerStatus[]>;
  exec(id: string, argv: readonly string[], options: { timeoutMs: number }): Promise<ExecResult>;
  enforcement(): Promise<KeeperStatus["enforcement"]>;
  /** One changed, or (undefined) the connection is new and all of them may have. */
  onChange(listener: (status: ContainerStatus | undefined) => void): () => void;
}

/** Requests throw `keeper-lost` (retryable; whether it ran is not known) and what the keeper refuses. */
export interface Keeper extends AsyncDisposable {
  readonly processes: KeeperProcesses;
  /** Of the keeper that is connected now. */
  readonly hello: Hello | undefined;
  status(): Promise<KeeperStatus>;
  startAgent(spec: AgentSpec): Promise<AgentState>;
  stopAgent(options: { graceMs: number }): Promise<AgentState>;
  /** Kept here and told again to every new keeper. */
  configureBeats(configuration: BeatConfiguration): Promise<void>;
  /** Milliseconds since each node was last heard; call it often, it is cheap. */
  reportHeard(agesMs: Readonly<Record<string, number>>): void;
  /** `sentBootMs`: boot time at which the renewal that succeeded was sent. */
  renewLease(renewal: { sentBootMs: number; ttlMs: number }): Promise<void>;
  /** Stops the agent, with `stopContainers` the pods as well, and ends; resolves when it is gone. */
  shutdown(options: { agentGraceMs: number; stopContainers: boolean }): Promise<void>;
  on<Name extends keyof KeeperEvents>(
    name: Name,
    listener: (event: KeeperEvents[Name]) => void,
  ): () => void;
  /** Ends the connection, nothing else. */
  close(): void;
}

const pingMs = 250;
const startPatienceMs = 3_000;

/** Connects to the keeper of `dataDir`. Throws `keeper-lost` when none answers in time. */
export async function connectKeeper(
  dataDir: string,
  deps: KeeperDeps,
  options: KeeperClientOptions = {},
): Promise<Keeper> {
  const { clock, log } = deps;
  const paths = keeperPaths(dataDir);
  const role = options.role ?? "tool";
  const connectTimeoutMs = options.connectTimeoutMs ?? 10_000;
  const signals = createSignals<KeeperEvents>({
    onListenerError: (error) => log.error("a listener of the keeper failed", { error }),
  });
  let connection: Connection | undefined;
  let connecting: Promise<Connection> | undefined;
  let closed = false;
  let pings: Timer | undefined;
  let beats: BeatConfiguration | undefined;

  const dial = async (): Promise<Connection> => {
    const backoff = createBackoff(deps, { initialMs: 10, maxMs: 500 });
    const untilMs = clock.monotonicMs() + connectTimeoutMs;
    let nextStartMs = 0;
    for (;;) {
      try {
        if (options.revive && clock.monotonicMs() >= nextStartMs) {
          // One that is starting holds no lock yet: give it time before another one is tried.
          if (await startKeeper(dataDir, options.flags)) {
            nextStartMs = clock.monotonicMs() + startPatienceMs;
          }
        }
        const socketPath = readSocketPath(paths);
        if (socketPath === undefined) throw lost(undefined);
        return await dialKeeper(socketPath, { role, onEvent });
      } catch (error) {
        const terminal = error instanceof SkerryError && !error.retryable;
        if (terminal || closed || clock.monotonicMs() >= untilMs) {
          throw error instanceof SkerryError ? error : lost(error);
        }
      }
      await clock.sleep(backoff.nextMs());
    }
  };

  const onEvent = (name: string, data: unknown) => {
    if (name === "container") signals.emit("container", data as ContainerStatus);
    else if (name === "agent") signals.emit("agent", data as AgentState);
  };

  const establish = (): Promise<Connection> => {
    if (connection) return Promise.resolve(connection);
    connecting ??= (async () => {
      try {
        const made = await dial();
        if (closed) {
          made.close();
          throw lost(undefined);
        }
        connection = made;
        void made.closed.then(() => {
          if (connection === made) connection = undefined;
          signals.emit("disconnected", {});
          keepConnected();
        });
        if (role === "agent") await made.request("ping", {});
        if (beats) await made.request("beatsConfigure", beats);
        signals.emit("connected", made.hello);
        return made;
      } finally {
        connecting = undefined;
      }
    })();
    return connecting;
  };

  /** Goes on for as long as the client is open; requests meanwhile fail by their own deadline. */
  const keepConnected = () => {
    if (closed) return;
    establish().catch((error: unknown) => {
      log.warn("no keeper answers", { error });
      if (!closed) clock.after(1_000, keepConnected);
    });
  };

  const request = async <Name extends MethodName>(
    method: Name,
    params: Methods[Name][0],
  ): Promise<Methods[Name][1]> => {
    if (closed) throw lost(undefined);
    return (await establish()).request(method, params);
  };

  await establish();
  if (role === "agent") {
    pings = every(
      clock,
      pingMs,
      async () => {
        await connection?.request("ping", {});
      },
      // The end of the connection is noticed where it is made again.
      () => {},
    );
  }

  const close = () => {
    closed = true;
    pings?.cancel();
    connection?.close();
  };

  return {
    processes: {
      start: (spec) => request("containerStart", { spec }),
      stop: (id, { graceMs }) => request("containerStop", { id, graceMs }),
      async remove(id) {
        await request("containerRemove", { id });
      },
      list: () => request("containerList", {}),
      exec: (id, argv, { timeoutMs }) => request("containerExec", { id, argv, timeoutMs }),
      enforcement: async () => (await request("status", {})).enforcement,
      onChange(listener) {
        const offChange = signals.on("container", listener);
        const offConnected = signals.on("connected", () => listener(undefined));
        return () => {
          offChange();
          offConnected();
        };
      },
    },
    get hello() {
      return connection?.hello;
    },
    status: () => request("status", {}),
    startAgent: (spec) => request("agentStart", { spec }),
    stopAgent: ({ graceMs }) => request("agentStop", { graceMs }),
    async configureBeats(configuration) {
      await request("beatsConfigure", configuration);
      beats = configuration;
    },
    reportHeard(agesMs) {
      connection?.request("beatsHeard", { heard: agesMs }).catch((error: unknown) => {
        log.debug("the keeper was not told whom we heard", { error });
      });
    },
    async renewLease(renewal) {
      await request("leaseRenew", renewal);
    },
    async shutdown(params) {
      const current = await establish();
      closed = true;
      pings?.cancel();
      await current.request("shutdown", params);
      current.close();
      await waitKeeperGone(deps, dataDir, 10_000);
    },
    on: (name, listener) => signals.on(name, listener),
    close,
    [Symbol.asyncDispose]: async () => close(),
  };
}

/** A connection to the keeper of `dataDir`, which is started when none lives; it adopts what it finds. */
export async function ensureKeeper(
  dataDir: string,
  deps: KeeperDeps,
  options: Omit<KeeperClientOptions, "revive"> & { agent?: AgentSpec } = {},
): Promise<Keeper> {
  const keeper = await connectKeeper(dataDir, deps, { ...options, revive: true });
  if (options.agent) await keeper.startAgent(options.agent);
  return keeper;
}

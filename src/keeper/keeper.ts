/** The keeper's parts put together: lock first, then adoption, then the socket, then the heart. */
import { renameSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { createHash } from "node:crypto";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { createAgentProcess } from "./agent-process.ts";
import { createBeats } from "./beats.ts";
import { createCgroups } from "./containers/cgroups.ts";
import { createContainers } from "./containers/containers.ts";
import { defaultLogLimits, type LogLimits } from "./containers/logs.ts";
import { createLease } from "./lease.ts";
import { version } from "../runtime/process/index.ts";
import { releaseLock, takeLock } from "../runtime/lock/index.ts";
import { chooseSocketPath, ensureKeeperFolders, keeperPaths } from "./paths.ts";
import { protocolVersion, type Hello } from "./protocol.ts";
import { startKeeperServer, type Handlers, type KeeperServer } from "./server.ts";

/** An agent that has not pinged for this long is down to its peers. */
const agentSilentMs = 1_000;

export type KeeperOptions = {
  readonly dataDir: string;
  /** False: as on a host that lends no cgroups. */
  readonly cgroups?: boolean;
  readonly logLimits?: LogLimits;
};

export type RunningKeeper =
  | { readonly state: "running"; readonly ended: Promise<void> }
  /** Another one lives for this folder; nothing was touched. */
  | { readonly state: "taken"; readonly pid: number };

export async function runKeeper(
  deps: { clock: Clock; bootTimeMs: () => number; random: Random; log: Log },
  options: KeeperOptions,
): Promise<RunningKeeper> {
  const { clock, log } = deps;
  const paths = keeperPaths(options.dataDir);
  ensureKeeperFolders(paths);
  const lock = takeLock(paths.lock);
  if (lock.state === "taken") return { state: "taken", pid: lock.by.pid };

  const { bootId, pid } = lock.identity;
  const hello: Hello = {
    protocol: protocolVersion,
    pid,
    bootId,
    startedMs: clock.wallMs(),
    version: version(),
    leases: "per-container",
  };
  const ended = Promise.withResolvers<void>();
  let server: KeeperServer | undefined;
  let pingedMs = Number.NEGATIVE_INFINITY;

  const folder = createHash("sha256").update(paths.directory).digest("hex").slice(0, 12);
  const cgroups = createCgroups({ enabled: options.cgroups ?? true, node: folder });
  const containers = createContainers(
    {
      clock,
      log,
      cgroups,
      onChange: (status) => server?.emit("container", status),
    },
    { paths, bootId, logLimits: options.logLimits ?? defaultLogLimits },
  );
  const agent = createAgentProcess(
    { ...deps, onChange: (state) => server?.emit("agent", state) },
    { recordPath: paths.agent },
  );
  const agentUp = () => agent.alive() && clock.monotonicMs() - pingedMs <= agentSilentMs;
  const beats = createBeats({ clock, log, hello, agentUp });
  const lease = createLease(
    { ...deps, onLook: (isOver) => containers.stopLeased(isOver) },
    { path: paths.lease, bootId },
  );

  const close = async () => {
    beats.close();
    await lease.close();
    agent.close();
    containers.close();
    cgroups.close();
    await server?.close();
    releaseLock(paths.lock, lock.identity);
    ended.resolve();
  };

  const handlers: Handlers = {
    ping(_params, caller) {
      if (caller.role === "agent") pingedMs = clock.monotonicMs();
      return {};
    },
    status: () => ({
      keeper: { ...hello, residentBytes: process.memoryUsage.rss() },
      agent: agent.state,
      agentUp: agentUp(),
      containers: containers.list(),
      enforcement: containers.enforcement(),
      beats: { sent: beats.sent, peers: beats.peers },
      ...(lease.untilBootMs === undefined ? {} : { leaseUntilBootMs: lease.untilBootMs }),
    }),
    agentStart: ({ spec }) => agent.start(spec),
    agentStop: ({ graceMs }) => agent.stop(graceMs),
    async containerStart({ spec }) {
      const terms = { ttlMs: spec?.leaseTtlMs, sentBootMs: spec?.leaseSentBootMs };
      if (spec?.leased && !lease.held(terms)) {
        throw new SkerryError({
          code: "lease-expired",
          message: `${spec.id} may run only while this node's lease does, and it does not`,
          hint: "it starts when the servers of the cell are reached again",
          retryable: true,
        });
      }
      try {
        return await containers.start(spec);
      } finally {
        lease.watch();
      }
    },
    containerStop: ({ id, graceMs }) => containers.stop(id, graceMs),
    containerRemove({ id }) {
      containers.remove(id);
      return {};
    },
    containerList: () => containers.list(),
    containerExec: ({ id, argv, timeoutMs }) => containers.exec(id, argv, timeoutMs),
    beatsConfigure(configuration) {
      beats.configure(configuration);
      return {};
    },
    beatsHeard({ heard }) {
      beats.heard(heard);
      return {};
    },
    leaseRenew(renewal) {
      lease.renew(renewal);
      return {};
    },
    async shutdown({ agentGraceMs, stopContainers }) {
      log.info("shutting down", { stopContainers });
      await agent.stop(agentGraceMs);
      if (stopContainers) await containers.stopAll();
      // After the reply is on its way.
      clock.after(20, () => void close());
      return {};
    },
  };

  await containers.adopt();
  lease.watch();
  await agent.adopt();
  const socketPath = chooseSocketPath(paths);
  server = await startKeeperServer({ log, hello, handlers }, { socketPath });
  writeFileSync(`${paths.socketFile}.${pid}`, `${socketPath}\n`, { mode: 0o600 });
  renameSync(`${paths.socketFile}.${pid}`, paths.socketFile);
  log.info("the keeper runs", { pid, socket: basename(socketPath) });
  return { state: "running", ended: ended.promise };
}

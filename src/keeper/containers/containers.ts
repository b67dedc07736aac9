/** All containers of a node: start, stop, forget, adopt; and the clockwork that follows their output. */
import { mkdirSync, rmSync, watch, type FSWatcher } from "node:fs";
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { LeaseTerms } from "../lease.ts";
import type { KeeperPaths } from "../paths.ts";
import type { ContainerSpec, ContainerStatus, Enforcement, ExecResult } from "../protocol.ts";
import type { Cgroups } from "./cgroups.ts";
import { createContainer, type Container } from "./container.ts";
import { runInside } from "./exec.ts";
import { createContainerLog, type LogLimits } from "./logs.ts";
import { checkSpec, containerFiles, loadRecords, type ContainerRecord } from "./record.ts";
import { checkCommand } from "./shim.ts";

export type ContainersDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly cgroups: Cgroups;
  readonly onChange: (status: ContainerStatus) => void;
};

export interface Containers {
  /** Takes over what earlier keepers of this folder started. */
  adopt(): Promise<void>;
  /**
   * Idempotent by id. Throws `invalid-container`, `container-command` (nothing to run),
   * `disk-full`; a command that starts and fails is an exit.
   */
  start(spec: ContainerSpec): Promise<ContainerStatus>;
  /** Resolves when nothing of it runs. Throws `container-unknown`, `container-stuck`. */
  stop(id: string, graceMs: number): Promise<ContainerStatus>;
  /** Forgets an ended one with its logs. Idempotent. Throws `container-running`. */
  remove(id: string): void;
  list(): ContainerStatus[];
  exec(id: string, argv: readonly string[], timeoutMs: number): Promise<ExecResult>;
  /**
   * Stops those that may run only while the node's lease does and for whom it is over; returns the TTLs
   * of all others that have not ended.
   */
  stopLeased(isOver: (terms: LeaseTerms) => boolean): readonly (number | undefined)[];
  stopAll(): Promise<void>;
  enforcement(): Enforcement;
  /** Follows no more output and watches nobody; processes go on. */
  close(): void;
}

/** inotify is missing on some file systems; where it is not, it may still lose events under load. */
const sweepMs = { unwatched: 1_000, watched: 5_000 };

export function createContainers(
  deps: ContainersDeps,
  options: { paths: KeeperPaths; bootId: string; logLimits: LogLimits },
): Containers {
  const { clock, log, cgroups } = deps;
  const { paths } = options;
  const containersById = new Map<string, Container>();
  const startingById = new Map<string, Promise<ContainerStatus>>();
  const leaseStopped = new Set<string>();
  let watcher: FSWatcher | undefined;
  let sweep: Timer | undefined;

  const make = (record: ContainerRecord): Container => {
    const { id } = record.spec;
    const files = containerFiles(paths.containers, id);
    mkdirSync(files.directory, { recursive: true, mode: 0o700 });
    const containerLog = createContainerLog(deps, {
      id,
      bootId: record.bootId,
      spoolDirectory: paths.spool,
      logDirectory: files.logs,
      checkpointPath: files.checkpoint,
      limits: options.logLimits,
    });
    const container = createContainer(deps, { record, files, containerLog });
    containersById.set(id, container);
    return container;
  };
  const find = (id: string): Container => {
    const container = containersById.get(id);
    if (container) return container;
    throw new SkerryError({
      code: "container-unknown",
      message: `there is no container "${id}"`,
      details: { id },
    });
  };
  const follow = () => {
    if (sweep) return;
    sweep = every(
      clock,
      () => (watcher ? sweepMs.watched : sweepMs.unwatched),
      async () => {
        for (const container of containersById.values()) {
          if (container.status.current.state !== "exited") await container.log.pump();
        }
      },
      (error) => log.error("container logs", { error }),
    );
    try {
      watcher = watch(paths.spool, (_event, name) => {
        const container = containersById.get(name?.replace(/\.(out|err)$/, "") ?? "");
        if (container?.status.current.state !== "exited") void container?.log.pump();
      });
      watcher.on("error", (error) => {
        log.warn("the spool is swept, not watched", { error });
        watcher?.close();
        watcher = undefined;
      });
    } catch (error) {
      log.warn("the spool is swept, not watched", { error });
    }
  };

  const begin = async (spec: ContainerSpec): Promise<ContainerStatus> => {
    checkCommand(spec);
    const { env, ...rest } = spec;
    const container = make({
      spec: rest,
      bootId: options.bootId,
      createdMs: clock.wallMs(),
      cgroup: spec.id,
      enforcement: cgroups.enforcement(spec.limits),
    });
    try {
      await container.start(env);
    } catch (error) {
      containersById.delete(spec.id);
      container.release();
      cgroups.remove(spec.id);
      rmSync(containerFiles(paths.containers, spec.id).directory, { recursive: true, force: true });
      throw error;
    }
    follow();
    return container.status;
  };

  return {
    async adopt() {
      const records = loadRecords(paths.containers, log);
      await Promise.all(
        records.map(async (record) => {
          const container = make(record);
          await container.adopt();
          if (container.status.current.state !== "exited") await container.log.pump();
        }),
      );
      if (records.length > 0) follow();
    },
    async start(spec) {
      checkSpec(spec);
      const known = containersById.get(spec.id);
      const starting = startingById.get(spec.id);
      if (starting) return starting;
      if (known) return known.status;
      const started = begin(spec).finally(() => startingById.delete(spec.id));
      startingById.set(spec.id, started);
      return started;
    },
    async stop(id, graceMs) {
      await startingById.get(id);
      return find(id).stop(graceMs, "stopped");
    },
    remove(id) {
      const container = containersById.get(id);
      if (!container) return;
      if (container.status.current.state !== "exited") {
        throw new SkerryError({
          code: "container-running",
          message: `${id} still runs`,
          hint: "stop it first",
        });
      }
      containersById.delete(id);
      leaseStopped.delete(id);
      rmSync(containerFiles(paths.containers, id).directory, { recursive: true, force: true });
    },
    list: () => [...containersById.values()].map((container) => container.status),
    async exec(id, argv, timeoutMs) {
      const container = find(id);
      const { identity, record } = container;
      if (!identity || container.status.current.state === "exited") {
        throw new SkerryError({ code: "container-not-running", message: `${id} does not run` });
      }
      const doors = record.enforcement.kill === "cgroup" ? cgroups.doors(record.cgroup) : [];
      return runInside({ clock }, { pid: identity.pid, doors, argv, timeoutMs, spec: record.spec });
    },
    stopLeased(isOver) {
      const left: (number | undefined)[] = [];
      for (const container of containersById.values()) {
        const { spec } = container.record;
        const { state } = container.status.current;
        if (!spec.leased || state === "exited" || leaseStopped.has(spec.id)) continue;
        // One that is still starting is stopped at the next look, when there is somebody to stop.
        if (state === "starting" || !isOver({ ttlMs: spec.leaseTtlMs })) {
          left.push(spec.leaseTtlMs);
          continue;
        }
        // Also one that is stopping: whoever asked for that may have granted it more time.
        leaseStopped.add(spec.id);
        log.warn("the node's lease ran out: stopping", { container: spec.id });
        container
          .stop(spec.graceMs, "lease-expired")
          .catch((error: unknown) => log.error("stopping for the lease", { error }));
      }
      return left;
    },
    async stopAll() {
      await Promise.all(
        [...containersById.values()].map((container) =>
          container.stop(container.record.spec.graceMs, "stopped"),
        ),
      );
    },
    enforcement: () => cgroups.enforcement({ memoryBytes: 1, cpuMilli: 1 }),
    close() {
      watcher?.close();
      sweep?.cancel();
      for (const container of containersById.values()) container.release();
    },
  };
}

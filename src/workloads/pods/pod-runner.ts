/**
 * Runs the pods that are bound to this node, from the mirror, with or without a server in reach. One
 * worker a pod; the driver's instances are the truth about what runs, and survive this process.
 */
import type { Pod, PodStatus } from "../../api/index.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Driver, DriverAbilities, Instance, LogOptions } from "../driver.ts";
import type {
  ConfigMapSource,
  PodEnvironment,
  PodSource,
  Rotation,
  SingleStarts,
  StatusSink,
} from "../ports.ts";
import type { NodeFacts } from "./environment.ts";
import { createInstanceTable } from "./instance-table.ts";
import { latestOf, previousOf } from "./plan.ts";
import { createPodWorker, type PodWorker } from "./pod-worker.ts";

export type PodRunnerDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly driver: Driver;
  readonly pods: PodSource;
  readonly statuses: StatusSink;
  readonly rotation?: Rotation;
  /** Absent: pods that run at most once start whenever the driver lets them. */
  readonly singleStarts?: SingleStarts;
  readonly configMaps: ConfigMapSource;
  readonly environment: PodEnvironment;
};

export type PodRunnerOptions = {
  readonly node: NodeFacts;
  /** PATH, HOME, LANG and the like; everything else overrides it. */
  readonly baseEnvironment: Readonly<Record<string, string>>;
};

export type OpenLogsOptions = Omit<LogOptions, "signal"> & {
  /** Of the run before the current one. */
  readonly previous?: boolean;
  readonly limitBytes?: number;
  readonly signal?: AbortSignal;
};

export interface PodRunner extends AsyncDisposable {
  /** Resolves when the driver was heard; pods are then run in the background until `stop`. */
  start(): Promise<void>;
  /** Pods go on; only this runner ends. */
  stop(): Promise<void>;
  /** The pods held here with the newest status, reported or not. */
  pods(): readonly { readonly pod: Pod; readonly status: PodStatus | undefined }[];
  /**
   * What a container wrote. Throws `container-unknown` when this node has no such pod or container,
   * `log-unavailable` when there is no (previous) run of it.
   */
  openLogs(podUid: string, container: string, options?: OpenLogsOptions): AsyncIterable<Uint8Array>;
}

const watchBackoff = { initialMs: 100, maxMs: 5_000 };

export function createPodRunner(deps: PodRunnerDeps, options: PodRunnerOptions): PodRunner {
  const { clock, driver, log } = deps;
  const controller = new AbortController();
  const { signal } = controller;
  const workersByUid = new Map<string, PodWorker>();
  const table = createInstanceTable({ onChange: (podUid) => workersByUid.get(podUid)?.wake() });
  let abilities: DriverAbilities = { limits: "none", kill: "group", network: "shared" };
  let synced = false;
  let unsubscribe = () => {};
  let watching: Promise<void> | undefined;
  const orphansStopping = new Set<string>();

  const refresh = async () => {
    const before = table.mark();
    abilities = await driver.abilities();
    table.replace(await driver.list(), before);
    if (synced) reapOrphans();
  };
  const refreshUntilHeard = async () => {
    const backoff = createBackoff(deps, watchBackoff);
    while (!signal.aborted) {
      try {
        return await refresh();
      } catch (error) {
        log.warn("the driver does not answer", { driver: driver.name, error });
        await clock.sleep(backoff.nextMs(), { signal });
      }
    }
  };

  const upsert = (pod: Pod) => {
    const uid = pod.metadata.uid ?? "";
    const worker = workersByUid.get(uid);
    if (worker) return worker.update(pod);
    const made = createPodWorker(
      {
        ...deps,
        specification: { ...deps, ...options, driverName: driver.name },
      },
      {
        pod,
        abilities: () => abilities,
        instances: () => table.ofPod(uid),
        onInstance: (instance) => table.put(instance),
        onRemoved: (id) => table.drop(id),
        onFinished() {
          workersByUid.delete(uid);
          void made.close();
        },
      },
    );
    workersByUid.set(uid, made);
    if (table.ofPod(uid).length > 0) deps.environment.adopt(pod);
    made.wake();
  };

  /** Instances of pods that went while no agent lived. */
  const reapOrphans = () => {
    for (const instance of table.all()) {
      const { podUid } = instance.owner;
      if (workersByUid.has(podUid) || orphansStopping.has(instance.id)) continue;
      orphansStopping.add(instance.id);
      reap(instance).finally(() => orphansStopping.delete(instance.id));
    }
  };
  const reap = async (instance: Instance) => {
    log.info("stopping what no pod wants", { instance: instance.id });
    try {
      await driver.stop(instance.id, { graceMs: instance.graceMs });
      await driver.remove(instance.id);
      table.drop(instance.id);
      await deps.environment.release(instance.owner.podUid);
    } catch (error) {
      log.warn("what no pod wants is still there", { instance: instance.id, error });
      clock.after(watchBackoff.maxMs, () => {
        if (!signal.aborted) reapOrphans();
      });
    }
  };

  const watchOnce = async (onAlive: () => void) => {
    const seen = new Set<string>();
    let complete = false;
    for await (const event of deps.pods.watch({ signal })) {
      onAlive();
      if (event.type === "BOOKMARK") {
        if (complete) continue;
        complete = true;
        synced = true;
        for (const [uid, worker] of workersByUid) if (!seen.has(uid)) worker.remove();
        reapOrphans();
        continue;
      }
      const uid = event.object.metadata.uid ?? "";
      seen.add(uid);
      if (event.type === "DELETED") workersByUid.get(uid)?.remove();
      else upsert(event.object);
    }
  };
  const watch = async () => {
    const backoff = createBackoff(deps, watchBackoff);
    while (!signal.aborted) {
      try {
        await watchOnce(() => backoff.reset());
      } catch (error) {
        if (signal.aborted) return;
        if (!isAbort(error)) log.warn("the watch of this node's pods broke", { error });
      }
      await clock.sleep(backoff.nextMs(), { signal }).catch(() => {});
    }
  };

  const stop = async () => {
    controller.abort();
    unsubscribe();
    await Promise.all([...workersByUid.values()].map((worker) => worker.close()));
    await watching;
  };

  const pick = (podUid: string, container: string, previous: boolean): Instance => {
    const instances = table.ofPod(podUid);
    const worker = workersByUid.get(podUid);
    const { containers = [], initContainers = [] } = worker?.pod.spec ?? {};
    if (!worker || ![...containers, ...initContainers].some(({ name }) => name === container)) {
      throw new SkerryError({
        code: "container-unknown",
        message: worker
          ? `pod ${worker.pod.metadata.name} has no container "${container}"`
          : `pod ${podUid} is not on this node`,
      });
    }
    const latest = latestOf(instances, container);
    const wanted = latest && previous ? previousOf(instances, latest) : latest;
    if (wanted) return wanted;
    throw new SkerryError({
      code: "log-unavailable",
      message: previous
        ? `previous terminated container "${container}" in pod "${worker.pod.metadata.name}" not found`
        : `container "${container}" in pod "${worker.pod.metadata.name}" is waiting to start`,
      retryable: !previous,
    });
  };

  return {
    async start() {
      unsubscribe = driver.onChange((instance) => {
        if (instance) table.put(instance);
        else refreshUntilHeard().catch((error: unknown) => log.debug("stopped", { error }));
      });
      await refreshUntilHeard();
      watching = watch();
    },
    stop,
    pods: () => [...workersByUid.values()].map(({ pod, status }) => ({ pod, status })),
    async *openLogs(podUid, container, { previous = false, limitBytes, ...rest } = {}) {
      let left = limitBytes ?? Number.POSITIVE_INFINITY;
      for await (const chunk of driver.logs(pick(podUid, container, previous).id, rest)) {
        yield chunk.subarray(0, left);
        left -= chunk.length;
        if (left <= 0) return;
      }
    },
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * All loops of the cell, run by the one node that leads. They share one cache per kind; each loop
 * starts when the caches are full, and stops before the watches do.
 */
import type { Clock } from "../lib/clock.ts";
import { isAbort } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Resources } from "../resources/index.ts";
import { createCaches } from "./cache/caches.ts";
import { createCellAddressController } from "./cell-address/run.ts";
import type { Context, Controller } from "./context.ts";
import { createDeploymentController } from "./deployment/run.ts";
import { createEndpointsController } from "./endpoints/run.ts";
import { createRecorder, type RecorderOptions } from "./events/recorder.ts";
import { createOwnerCollector } from "./garbage/owners.ts";
import { createPodCollector } from "./garbage/pods.ts";
import { createNamespaceController } from "./namespace/run.ts";
import type { Phases } from "./node-lifecycle/loss-words.ts";
import type { LifecycleOptions } from "./node-lifecycle/plan.ts";
import { createNodeLifecycle } from "./node-lifecycle/run.ts";
import type { Drivers, Verdicts } from "./ports.ts";
import { createReplicaSetController } from "./replica-set/run.ts";
import { defaultDrivers } from "./scheduler/drivers.ts";
import { createScheduler } from "./scheduler/run.ts";

export type ControllersDeps = {
  readonly resources: Resources;
  readonly verdicts: Verdicts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Default: every node runs processes that share its network; Podman where its runtime names it. */
  readonly drivers?: Drivers;
  /** The pods of a lost node run elsewhere and are reached, in so many milliseconds. */
  readonly onReplaced?: (phases: Phases) => void;
};

export type ControllersOptions = {
  /** Leadership: when it aborts, nothing more is written. */
  readonly signal?: AbortSignal;
  readonly lifecycle?: Partial<LifecycleOptions>;
  readonly events?: RecorderOptions;
};

export type Controllers = {
  /** Resolves when the loops run; rejects when stopped before. */
  readonly ready: Promise<void>;
  /** Keys that wait or are worked on, over all loops. */
  readonly busy: number;
  /** Resolves when nothing of it runs any more. Idempotent. */
  stop(): Promise<void>;
};

/** Starts at once. Call it when this node becomes the leader, and `stop` when it is not any more. */
export function startControllers(
  deps: ControllersDeps,
  options: ControllersOptions = {},
): Controllers {
  const log = deps.log.child({ room: "controllers" });
  const abort = new AbortController();
  const forward = () => void stop();
  const caches = createCaches({ ...deps, log });
  const events = createRecorder({ ...deps, log }, options.events);
  const context: Context = { ...deps, log, caches, events };

  const lifecycle = createNodeLifecycle(context, deps.verdicts, {
    ...(options.lifecycle ? { lifecycle: options.lifecycle } : {}),
    ...(deps.onReplaced ? { onReplaced: deps.onReplaced } : {}),
  });
  const cellAddresses = createCellAddressController(context, deps.verdicts);
  const scheduler = createScheduler(context, deps.drivers ?? defaultDrivers, deps.verdicts);
  const controllers: Controller[] = [
    createNamespaceController(context),
    lifecycle,
    cellAddresses,
    createDeploymentController(context),
    createReplicaSetController(context),
    scheduler,
    createEndpointsController(context),
    createOwnerCollector(context),
    createPodCollector(context),
  ];
  const loops = controllers.flatMap((controller) => controller.loops);

  const following = caches.run(abort.signal);
  const ready = caches.synced(abort.signal).then(() => {
    for (const controller of controllers) controller.seed();
    for (const loop of loops) loop.start();
    log.info("controllers lead", { loops: loops.length });
  });
  ready.catch((error: unknown) => {
    if (!isAbort(error)) log.error("controllers did not start", { error });
  });

  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= stopAll());
  const stopAll = async () => {
    options.signal?.removeEventListener("abort", forward);
    lifecycle.stop();
    cellAddresses.stop();
    scheduler.stop();
    abort.abort(new DOMException("controllers stopped", "AbortError"));
    await Promise.all(loops.map((loop) => loop.stop()));
    await events.stop();
    await following;
    log.info("controllers stopped");
  };
  if (options.signal?.aborted) void stop();
  else options.signal?.addEventListener("abort", forward, { once: true });

  return {
    ready,
    get busy() {
      return loops.reduce((sum, loop) => sum + loop.busy, 0);
    },
    stop,
  };
}

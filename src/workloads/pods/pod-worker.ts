/**
 * Keeps one pod as it shall be: looks, plans (`plan.ts`), carries out, reports; again whenever
 * something changed. Slow things (a stop's grace, a report) run beside it, so that a look never
 * waits for them.
 */
import { onPartitionOf, sameValue, type Pod, type PodStatus } from "../../api/index.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Driver, DriverAbilities, Instance } from "../driver.ts";
import type { Rotation, SingleStarts, StatusSink } from "../ports.ts";
import type { Refusal } from "./environment.ts";
import { isFinal, planPod, type ContainerNotes, type PodView, type Step } from "./plan.ts";
import { createPodProbes } from "./pod-probes.ts";
import { createReporter } from "./reporter.ts";
import { leaveRotation } from "./rotation.ts";
import { graceMsOf, instanceSpecOf, refusalOf, type SpecificationDeps } from "./specification.ts";
import { podStatusOf } from "./status.ts";

export type PodWorkerDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly driver: Driver;
  readonly statuses: StatusSink;
  readonly rotation?: Rotation | undefined;
  readonly singleStarts?: SingleStarts | undefined;
  readonly specification: SpecificationDeps;
};

export type PodWorkerOptions = {
  readonly pod: Pod;
  readonly abilities: () => DriverAbilities;
  readonly instances: () => readonly Instance[];
  readonly onInstance: (instance: Instance) => void;
  readonly onRemoved: (id: string) => void;
  /** Nothing is left of the pod here. */
  readonly onFinished: () => void;
};

export interface PodWorker {
  readonly pod: Pod;
  readonly status: PodStatus | undefined;
  update(pod: Pod): void;
  /** The pod is not this node's any more. */
  remove(): void;
  /** Something may have changed: look again. */
  wake(): void;
  /** Looks no more; what runs goes on. Resolves when the last look has ended. */
  close(): Promise<void>;
}

const retryFirstMs = 1_000;
const retryMaxMs = 300_000;
/** Reasons that pass by themselves: asked again at the same pace. */
const passing: Readonly<Record<string, string>> = {
  "keeper-lost": "RuntimeUnavailable",
  "lease-expired": "LeaseExpired",
  "ledger-unavailable": "LeaseExpired",
};

export function createPodWorker(deps: PodWorkerDeps, options: PodWorkerOptions): PodWorker {
  const { clock, driver } = deps;
  let pod = options.pod;
  const found = pod.status;
  const log = deps.log.child({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` });
  const reporter = createReporter({ ...deps, log });
  const notesByContainer = new Map<string, ContainerNotes>();
  const refusalsByContainer = new Map<string, number>();
  /** The grace that a stop under way was asked with, by instance. */
  const stoppingById = new Map<string, number>();
  let status: PodStatus | undefined;
  let removed = false;
  let finishing = false;
  let closed = false;
  let dirty = false;
  let looking: Promise<void> | undefined;
  let timer: Timer | undefined;

  const view = (): PodView => ({
    // What the servers say has ended has ended, whatever was worked out here.
    pod: isFinal(pod) || !status ? pod : { ...pod, status },
    found,
    removed,
    instances: options.instances(),
    notesByContainer,
    nowMs: clock.wallMs(),
  });
  const note = (container: string, more: ContainerNotes) => {
    notesByContainer.set(container, { ...notesByContainer.get(container), ...more });
  };

  const probes = createPodProbes(
    { ...deps, log },
    {
      address: deps.specification.node.address,
      found,
      onVerdict(container, probed) {
        note(container, { probed });
        wake();
      },
      onBegin: (container, probed) => note(container, { probed }),
    },
  );

  const refused = (container: string, refusal: Refusal, options: { steady: boolean }) => {
    const times = refusalsByContainer.get(container) ?? 0;
    refusalsByContainer.set(container, times + 1);
    const delayMs = options.steady ? retryFirstMs : Math.min(retryMaxMs, retryFirstMs * 2 ** times);
    if (times === 0) log.warn("a container cannot be started", { container, ...refusal });
    note(container, {
      refusal: refusal.final ? refusal : { ...refusal, retryAtMs: clock.wallMs() + delayMs },
    });
    dirty = true;
  };

  const stopping = new AbortController();
  const admit = async () =>
    onPartitionOf(pod) === "stop"
      ? await deps.singleStarts?.admit(pod, { signal: stopping.signal })
      : undefined;

  const start = async (step: Extract<Step, { do: "start" }>) => {
    const { container } = step;
    const hopeless = refusalOf(pod, container, {
      driverName: driver.name,
      abilities: options.abilities(),
    });
    if (hopeless) return refused(container.name, hopeless, { steady: false });
    try {
      const admission = await admit();
      if (admission && !admission.ok)
        return refused(container.name, { ...admission, final: false }, { steady: true });
      const spec = await instanceSpecOf(deps.specification, pod, container, {
        ...step,
        leaseSentBootMs: admission?.sentBootMs,
      });
      if (!spec.ok) return refused(container.name, spec.refusal, { steady: false });
      const instance = await driver.start(spec.value);
      refusalsByContainer.delete(container.name);
      notesByContainer.delete(container.name);
      options.onInstance(instance);
      log.info("container started", { container: container.name, attempt: step.attempt });
    } catch (error) {
      const code = error instanceof SkerryError ? error.code : "";
      const reason =
        passing[code] ??
        (code === "image-unsupported" ? "InvalidImageName" : "CreateContainerError");
      const final = code === "image-unsupported" || code === "invalid-container";
      refused(
        container.name,
        { reason, message: explain(error), final },
        { steady: code in passing },
      );
    }
  };

  const stop = (id: string, reason: string) => {
    const graceMs = graceMsOf(pod);
    if (graceMs >= (stoppingById.get(id) ?? Number.POSITIVE_INFINITY)) return;
    stoppingById.set(id, graceMs);
    log.info("stopping a container", { instance: id, reason, graceMs });
    const isLeaving = pod.metadata.deletionTimestamp !== undefined && !removed && graceMs > 0;
    (isLeaving ? leaveRotation(deps, pod) : Promise.resolve())
      .then(() => driver.stop(id, { graceMs }))
      .then(
        (instance) => options.onInstance(instance),
        async (error: unknown) => {
          log.warn("a container is not stopped yet", { instance: id, error });
          await clock.sleep(retryFirstMs);
        },
      )
      .finally(() => {
        stoppingById.delete(id);
        wake();
      });
  };

  const finish = () => {
    if (finishing) return;
    finishing = true;
    const gone = async () => {
      await deps.specification.environment
        .release(pod.metadata.uid ?? "")
        .catch((error: unknown) => log.warn("what was made for a pod is left over", { error }));
      options.onFinished();
    };
    if (removed) return void gone();
    reporter.send(
      (signal) => deps.statuses.confirmDeleted(pod, { signal }),
      () => void gone(),
    );
  };

  const carryOut = async (step: Step) => {
    switch (step.do) {
      case "start":
        return start(step);
      case "stop":
        return stop(step.id, step.reason);
      case "remove":
        await driver.remove(step.id);
        return options.onRemoved(step.id);
      case "finish":
        return finish();
    }
  };

  const report = () => {
    if (removed || finishing) return;
    const next = podStatusOf(view(), {
      node: deps.specification.node,
      abilities: options.abilities(),
      driverName: driver.name,
    });
    if (status && sameValue(next, status)) return;
    status = next;
    if (!sameValue(next, pod.status)) {
      reporter.send((signal) => deps.statuses.report(pod, next, { signal }));
    }
  };

  const look = async () => {
    timer?.cancel();
    const now = view();
    probes.follow(now);
    const plan = planPod(view());
    for (const step of plan.steps) if (!closed) await carryOut(step);
    if (closed) return;
    probes.follow(view());
    report();
    if (plan.wakeInMs !== undefined) timer = clock.after(plan.wakeInMs, wake);
  };

  const wake = () => {
    dirty = true;
    if (closed) return;
    // Begun a microtask later, so that a wake from inside the look finds it under way.
    looking ??= Promise.resolve().then(async () => {
      for (;;) {
        if (!dirty || closed) break;
        dirty = false;
        try {
          await look();
        } catch (error) {
          log.warn("a look at a pod failed; it is looked at again", { error });
          timer = clock.after(retryFirstMs, wake);
        }
      }
      looking = undefined;
    });
  };

  return {
    get pod() {
      return pod;
    },
    get status() {
      return status;
    },
    update(next) {
      const changed = !sameValue(next.spec, pod.spec);
      pod = next;
      removed = false;
      if (changed) {
        refusalsByContainer.clear();
        for (const [name, { probed }] of notesByContainer) {
          notesByContainer.set(name, probed ? { probed } : {});
        }
      }
      // Somebody else wrote another verdict (a node lifecycle, an older agent): say ours again.
      if (status && differs(pod.status, status) && !removed) {
        const ours = status;
        if (!isFinal(pod)) reporter.send((signal) => deps.statuses.report(pod, ours, { signal }));
      }
      wake();
    },
    remove() {
      removed = true;
      wake();
    },
    wake,
    async close() {
      closed = true;
      stopping.abort();
      timer?.cancel();
      reporter.close();
      probes.stop();
      await looking;
    },
  };
}

/** In what others act on. */
function differs(reported: PodStatus | undefined, ours: PodStatus): boolean {
  const ready = (status: PodStatus | undefined) =>
    status?.conditions?.find(({ type }) => type === "Ready")?.status;
  return reported?.phase !== ours.phase || ready(reported) !== ready(ours);
}

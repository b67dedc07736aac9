/**
 * What to do for one pod, from what is wanted and what is seen: pure and level-based. The runner
 * carries the steps out and asks again; the same picture always gives the same steps.
 */
import type { Container, ContainerStatus, Pod, PodStatus } from "../../api/index.ts";
import type { Instance } from "../driver.ts";
import type { Refusal } from "./environment.ts";

/** What the runner remembers of a container beyond what the driver can tell. */
export type ContainerNotes = {
  /** Why the last start was refused, and when it is tried again (wall time; never when final). */
  readonly refusal?: Refusal & { readonly retryAtMs?: number };
  /** By probes: the running instance. Absent: not probed yet. */
  readonly probed?: {
    readonly instance: string;
    readonly started: boolean;
    readonly ready: boolean;
    /** Why it has to be stopped and started again. */
    readonly unhealthy?: string;
  };
};

export type PodView = {
  /** Its status is the last one that was worked out here, or else the one that was found. */
  readonly pod: Pod;
  /** The status that was found when this agent took the pod over. */
  readonly found: PodStatus | undefined;
  /** Not among the node's pods any more: stop it, report nothing. */
  readonly removed: boolean;
  readonly instances: readonly Instance[];
  readonly notesByContainer: ReadonlyMap<string, ContainerNotes>;
  readonly nowMs: number;
};

export type Step =
  | {
      readonly do: "start";
      readonly container: Container;
      readonly attempt: number;
      readonly crashes: number;
    }
  | { readonly do: "stop"; readonly id: string; readonly reason: string }
  | { readonly do: "remove"; readonly id: string }
  /** Nothing runs and nothing is kept any more: the pod may go. */
  | { readonly do: "finish" };

export type Plan = {
  readonly steps: readonly Step[];
  /** Look again then, even if nothing is heard. */
  readonly wakeInMs?: number;
};

/** Kubernetes' figures; the first restart is at once. */
const backoffFirstMs = 10_000;
const backoffMaxMs = 300_000;
/** Who ran this long did not crash. */
const steadyAfterMs = 600_000;

/** The wait before a start that follows `crashes` ends in a row. */
export function restartDelayMs(crashes: number): number {
  return crashes <= 1 ? 0 : Math.min(backoffMaxMs, backoffFirstMs * 2 ** (crashes - 2));
}

export type NextStart =
  | { readonly state: "none" }
  | { readonly state: "now"; readonly attempt: number; readonly crashes: number }
  | {
      readonly state: "later";
      readonly inMs: number;
      readonly delayMs: number;
      readonly attempt: number;
      readonly crashes: number;
    };

/** When the container of `last` is started again. */
export function nextStart(
  last: Instance | undefined,
  options: { policy: string; nowMs: number; firstAttempt: number; unhealthy: boolean },
): NextStart {
  if (!last) return { state: "now", attempt: options.firstAttempt, crashes: 0 };
  if (last.current.state !== "exited") return { state: "none" };
  const { exit, startedMs, endedMs } = last.current;
  const again =
    options.policy === "Always" ||
    (options.policy === "OnFailure" && (exit.code !== 0 || options.unhealthy));
  if (!again) return { state: "none" };
  const attempt = last.owner.attempt + 1;
  // It did nothing wrong: it starts again as soon as the lease is back.
  if (exit.reason === "lease-expired")
    return { state: "now", attempt, crashes: last.owner.crashes };
  const ranMs = endedMs - (startedMs ?? endedMs);
  const crashes = ranMs >= steadyAfterMs ? 1 : last.owner.crashes + 1;
  const delayMs = restartDelayMs(crashes);
  // A wall clock that was set back must not prolong the wait beyond its own length.
  const inMs = Math.min(delayMs, Math.max(0, endedMs + delayMs - options.nowMs));
  return inMs === 0
    ? { state: "now", attempt, crashes }
    : { state: "later", inMs, delayMs, attempt, crashes };
}

export function latestOf(instances: readonly Instance[], container: string): Instance | undefined {
  let latest: Instance | undefined;
  for (const instance of instances) {
    if (instance.owner.container !== container) continue;
    if (!latest || instance.owner.attempt > latest.owner.attempt) latest = instance;
  }
  return latest;
}

export function previousOf(instances: readonly Instance[], latest: Instance): Instance | undefined {
  return latestOf(
    instances.filter(({ owner }) => owner.attempt < latest.owner.attempt),
    latest.owner.container,
  );
}

export const isOver = (instance: Instance | undefined) => instance?.current.state === "exited";
export const exitCodeOf = (instance: Instance | undefined) =>
  instance?.current.state === "exited" ? instance.current.exit.code : undefined;

/** Init containers of app containers that already ran are done, whatever became of their records. */
export function initDone(view: Pick<PodView, "pod" | "instances">): boolean {
  const { pod, instances } = view;
  if (pod.spec.containers.some(({ name }) => latestOf(instances, name))) return true;
  return (pod.spec.initContainers ?? []).every(
    ({ name }) => exitCodeOf(latestOf(instances, name)) === 0,
  );
}

/** The attempt to begin with where no record is left: one more than was reported. */
export function firstAttempt(found: PodStatus | undefined, container: string): number {
  const status = statusByName(found, container);
  const ran = status?.state?.running ?? status?.state?.terminated ?? status?.lastState?.terminated;
  return status && ran ? status.restartCount + 1 : 0;
}

export function statusByName(
  status: PodStatus | undefined,
  container: string,
): ContainerStatus | undefined {
  const { containerStatuses = [], initContainerStatuses = [] } = status ?? {};
  return [...containerStatuses, ...initContainerStatuses].find(({ name }) => name === container);
}

/** Reported as ended by whoever had the say: it stays ended. */
export function isFinal(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function planPod(view: PodView): Plan {
  const { pod, instances } = view;
  if (view.removed || pod.metadata.deletionTimestamp !== undefined) return planEnd(view);
  const running = instances.filter((instance) => !isOver(instance));
  if (isFinal(pod)) {
    return { steps: running.map(({ id }) => stop(id, "the pod has ended")) };
  }
  const steps: Step[] = [];
  const wakes: number[] = [];
  const policy = pod.spec.restartPolicy ?? "Always";
  const consider = (container: Container, containerPolicy: string) => {
    const notes = view.notesByContainer.get(container.name);
    const last = latestOf(instances, container.name);
    if (last && !isOver(last)) {
      const { probed } = notes ?? {};
      if (probed?.instance === last.id && probed.unhealthy !== undefined) {
        steps.push(stop(last.id, probed.unhealthy));
      }
      return;
    }
    const unhealthy =
      notes?.probed?.instance === last?.id && notes?.probed?.unhealthy !== undefined;
    const next = nextStart(last, {
      policy: containerPolicy,
      nowMs: view.nowMs,
      firstAttempt: firstAttempt(view.found, container.name),
      unhealthy,
    });
    if (next.state === "none") return;
    if (next.state === "later") return void wakes.push(next.inMs);
    const { refusal } = notes ?? {};
    if (refusal?.final) return;
    const waitMs = (refusal?.retryAtMs ?? 0) - view.nowMs;
    if (waitMs > 0) return void wakes.push(waitMs);
    steps.push({ do: "start", container, attempt: next.attempt, crashes: next.crashes });
  };

  if (initDone(view)) {
    for (const container of pod.spec.containers) consider(container, policy);
  } else {
    // One after the other; a failed one is tried again unless the pod says never.
    const current = pod.spec.initContainers?.find(
      ({ name }) => exitCodeOf(latestOf(instances, name)) !== 0,
    );
    if (current) consider(current, policy === "Never" ? "Never" : "OnFailure");
  }
  for (const instance of instances) {
    const latest = latestOf(instances, instance.owner.container);
    const kept = latest && previousOf(instances, latest);
    if (isOver(instance) && instance.id !== latest?.id && instance.id !== kept?.id) {
      steps.push({ do: "remove", id: instance.id });
    }
  }
  return { steps, ...(wakes.length > 0 ? { wakeInMs: Math.min(...wakes) } : {}) };
}

function planEnd(view: PodView): Plan {
  const running = view.instances.filter((instance) => !isOver(instance));
  if (running.length > 0) {
    return { steps: running.map(({ id }) => stop(id, "the pod was deleted")) };
  }
  return {
    steps: [...view.instances.map(({ id }): Step => ({ do: "remove", id })), { do: "finish" }],
  };
}

const stop = (id: string, reason: string): Step => ({ do: "stop", id, reason });

/** What is reported of a pod: pure, in Kubernetes' words (kubelet's `generateAPIPodStatus`). */
import {
  withCondition,
  type Condition,
  type Container,
  type ContainerState,
  type ContainerStatus,
  type Pod,
  type PodStatus,
} from "../../api/index.ts";
import type { DriverAbilities, Instance } from "../driver.ts";
import type { NodeFacts } from "./environment.ts";
import {
  exitCodeOf,
  firstAttempt,
  initDone,
  isFinal,
  isOver,
  latestOf,
  nextStart,
  previousOf,
  statusByName,
  type PodView,
} from "./plan.ts";

/** Kubernetes has no code for an end that nobody saw. */
const unknownExitCode = 137;

export function podStatusOf(
  view: PodView,
  options: { node: NodeFacts; abilities: DriverAbilities; driverName: string },
): PodStatus {
  const { pod } = view;
  const now = new Date(view.nowMs).toISOString();
  const initialized = initDone(view);
  const containers = pod.spec.containers.map((container) =>
    containerStatus(
      view,
      container,
      options.driverName,
      initialized ? undefined : "PodInitializing",
    ),
  );
  const inits = (pod.spec.initContainers ?? []).map((container, index, all) => {
    const before = all[index - 1];
    const waits = before && exitCodeOf(latestOf(view.instances, before.name)) !== 0;
    return containerStatus(
      view,
      container,
      options.driverName,
      waits ? "PodInitializing" : undefined,
    );
  });
  const phase = phaseOf(view, initialized);
  const over = phase === "Succeeded" || phase === "Failed";
  const allReady = !over && initialized && containers.every(({ ready }) => ready);
  const unready = containers.filter(({ ready }) => !ready).map(({ name }) => name);
  const why = over
    ? { reason: phase === "Succeeded" ? "PodCompleted" : "PodFailed" }
    : {
        reason: "ContainersNotReady",
        message: `containers with unready status: [${unready.join(" ")}]`,
      };

  let conditions: readonly Condition[] = pod.status?.conditions ?? [];
  const condition = (
    type: string,
    holds: boolean,
    more: { reason?: string; message?: string } = {},
  ) => {
    conditions = withCondition(conditions, {
      type,
      status: holds ? "True" : "False",
      lastTransitionTime: now,
      ...more,
    });
  };
  condition("PodScheduled", true);
  condition("Initialized", initialized, initialized ? {} : { reason: "ContainersNotInitialized" });
  condition("ContainersReady", allReady, allReady ? {} : why);
  condition("Ready", allReady, allReady ? {} : why);
  if (options.abilities.network === "shared") {
    condition("skerry.dev/NetworkIsolated", false, {
      reason: "SharedNetwork",
      message: "not isolated: the pod uses the node's network",
    });
  }
  const limited = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].some(
    ({ resources }) => Object.keys(resources?.limits ?? {}).length > 0,
  );
  if (limited) {
    const enforced = options.abilities.limits === "enforced";
    condition("skerry.dev/LimitsEnforced", enforced, {
      reason: enforced ? "Cgroups" : "NoCgroups",
      message: enforced ? "" : "this node lends no cgroups: limits are not enforced",
    });
  }
  return {
    phase,
    conditions: [...conditions],
    hostIP: options.node.address,
    hostIPs: [{ ip: options.node.address }],
    podIP: options.node.address,
    podIPs: [{ ip: options.node.address }],
    startTime: pod.status?.startTime ?? now,
    qosClass: qosClassOf(pod),
    containerStatuses: containers,
    ...(inits.length > 0 ? { initContainerStatuses: inits } : {}),
    ...(isFinal(pod) && pod.status?.reason !== undefined ? { reason: pod.status.reason } : {}),
    ...(isFinal(pod) && pod.status?.message !== undefined ? { message: pod.status.message } : {}),
  };
}

function phaseOf(view: PodView, initialized: boolean): NonNullable<PodStatus["phase"]> {
  const { pod, instances } = view;
  if (isFinal(pod)) return pod.status?.phase ?? "Failed";
  const policy = pod.spec.restartPolicy ?? "Always";
  if (!initialized) {
    const failed = (pod.spec.initContainers ?? []).some(({ name }) => {
      const last = latestOf(instances, name);
      return isOver(last) && exitCodeOf(last) !== 0;
    });
    return failed && policy === "Never" ? "Failed" : "Pending";
  }
  const latest = pod.spec.containers.map(({ name }) => latestOf(instances, name));
  if (latest.some((instance) => instance === undefined)) {
    return latest.some((instance) => instance && !isOver(instance)) ? "Running" : "Pending";
  }
  if (latest.some((instance) => !isOver(instance)) || policy === "Always") return "Running";
  if (latest.every((instance) => exitCodeOf(instance) === 0)) return "Succeeded";
  return policy === "Never" ? "Failed" : "Running";
}

function containerStatus(
  view: PodView,
  container: Container,
  driverName: string,
  waitsFor: string | undefined,
): ContainerStatus {
  const { pod, instances } = view;
  const notes = view.notesByContainer.get(container.name);
  const found = statusByName(view.found, container.name);
  const last = latestOf(instances, container.name);
  const base = { name: container.name, image: container.image ?? "", imageID: "" };
  const init = pod.spec.initContainers?.includes(container) ?? false;
  if (!last) {
    const reason = notes?.refusal?.reason ?? waitsFor ?? "ContainerCreating";
    const message = notes?.refusal?.message;
    const ended = found?.state?.terminated ?? found?.lastState?.terminated;
    // What was reported as ended by an earlier life of this node's disk stays told.
    if (isFinal(pod) && found) return { ...found, ready: false, started: false };
    return {
      ...base,
      ready: false,
      started: false,
      restartCount: firstAttempt(view.found, container.name),
      state: { waiting: { reason, ...(message === undefined ? {} : { message }) } },
      ...(ended ? { lastState: { terminated: ended } } : {}),
    };
  }
  const previous = previousOf(instances, last);
  const lastState: ContainerState | undefined =
    previous && isOver(previous)
      ? { terminated: terminatedOf(previous, driverName) }
      : found?.containerID === idOf(last, driverName)
        ? found?.lastState
        : undefined;
  const common = {
    ...base,
    restartCount: last.owner.attempt,
    containerID: idOf(last, driverName),
    ...(lastState ? { lastState } : {}),
  };
  if (last.current.state !== "exited") {
    const { started = false, ready = false } =
      notes?.probed?.instance === last.id ? notes.probed : {};
    const startedMs = "startedMs" in last.current ? last.current.startedMs : view.nowMs;
    return {
      ...common,
      ready: init ? false : ready,
      started,
      state: { running: { startedAt: new Date(startedMs).toISOString() } },
    };
  }
  const terminated = terminatedOf(last, driverName);
  const ready = init && terminated.exitCode === 0;
  const next = nextStart(last, {
    policy: init
      ? pod.spec.restartPolicy === "Never"
        ? "Never"
        : "OnFailure"
      : (pod.spec.restartPolicy ?? "Always"),
    nowMs: view.nowMs,
    firstAttempt: 0,
    unhealthy: notes?.probed?.instance === last.id && notes.probed.unhealthy !== undefined,
  });
  const ending = view.removed || pod.metadata.deletionTimestamp !== undefined || isFinal(pod);
  if (notes?.refusal && next.state !== "none" && !ending) {
    const { reason, message } = notes.refusal;
    return {
      ...common,
      ready,
      started: false,
      state: { waiting: { reason, message } },
      lastState: { terminated },
    };
  }
  if (next.state === "later" && !ending) {
    const waiting = {
      reason: "CrashLoopBackOff",
      message: `back-off ${Math.round(next.delayMs / 1000)}s restarting failed container=${container.name}`,
    };
    return { ...common, ready, started: false, state: { waiting }, lastState: { terminated } };
  }
  return { ...common, ready, started: false, state: { terminated } };
}

export const idOf = (instance: Instance, driverName: string) => `${driverName}://${instance.id}`;

const reasonByExit = {
  oom: "OOMKilled",
  "lease-expired": "LeaseExpired",
  "start-failed": "StartError",
  unknown: "ContainerStatusUnknown",
} as const;

function terminatedOf(
  instance: Instance,
  driverName: string,
): NonNullable<ContainerState["terminated"]> {
  if (instance.current.state !== "exited") throw new TypeError(`${instance.id} still runs`);
  const { exit, startedMs, endedMs } = instance.current;
  const exitCode = exit.code ?? unknownExitCode;
  const reason =
    exit.reason === "exited" || exit.reason === "stopped"
      ? exitCode === 0
        ? "Completed"
        : "Error"
      : reasonByExit[exit.reason];
  return {
    exitCode,
    reason,
    finishedAt: new Date(endedMs).toISOString(),
    containerID: idOf(instance, driverName),
    ...(startedMs === undefined ? {} : { startedAt: new Date(startedMs).toISOString() }),
    ...(exit.signal === undefined ? {} : { signal: exit.signal }),
    ...(exit.reason === "unknown"
      ? { message: "nobody saw how it ended: the node was restarted, or its processes were killed" }
      : {}),
  };
}

/** Kubernetes' quality of service class, from requests and limits. */
function qosClassOf(pod: Pod): string {
  const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  const all = containers.map(({ resources }) => resources ?? {});
  if (
    all.every(
      ({ requests = {}, limits = {} }) => Object.keys({ ...requests, ...limits }).length === 0,
    )
  ) {
    return "BestEffort";
  }
  const guaranteed = all.every(({ requests = {}, limits = {} }) =>
    (["cpu", "memory"] as const).every(
      (name) => limits[name] !== undefined && (requests[name] ?? limits[name]) === limits[name],
    ),
  );
  return guaranteed ? "Guaranteed" : "Burstable";
}

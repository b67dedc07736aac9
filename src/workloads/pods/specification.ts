/** From a container in a pod to what the driver starts, or to a clear word why it cannot be. */
import {
  fenceAnnotation,
  onPartitionOf,
  parseMilliQuantity,
  parseQuantity,
  partitionTtlMsOf,
  processRuntimeClass,
  type Container,
  type Pod,
} from "../../api/index.ts";
import { instanceId, type DriverAbilities, type InstanceSpec } from "../driver.ts";
import type { ConfigMapSource, PodEnvironment } from "../ports.ts";
import {
  refuse,
  resolveEnvironment,
  type NodeFacts,
  type Outcome,
  type Refusal,
} from "./environment.ts";
import { expand } from "./expansion.ts";

/** `skerry.dev/limits: required`: rather not run than run without limits. */
export const limitsAnnotation = "skerry.dev/limits";

export type SpecificationDeps = {
  readonly configMaps: ConfigMapSource;
  readonly environment: PodEnvironment;
  readonly node: NodeFacts;
  /** PATH and the like, below everything else. */
  readonly baseEnvironment: Readonly<Record<string, string>>;
  readonly driverName: string;
};

const defaultGraceSeconds = 30;

export function graceMsOf(pod: Pod): number {
  const seconds =
    pod.metadata.deletionTimestamp === undefined
      ? undefined
      : pod.metadata.deletionGracePeriodSeconds;
  return 1000 * (seconds ?? pod.spec.terminationGracePeriodSeconds ?? defaultGraceSeconds);
}

/** What can be told from the specification alone: it would be refused each time. */
export function refusalOf(
  pod: Pod,
  container: Container,
  options: { driverName: string; abilities: DriverAbilities },
): Refusal | undefined {
  const no = (message: string, reason = "CreateContainerConfigError") => ({
    reason,
    message,
    final: true,
  });
  const runtimeClass = pod.spec.runtimeClassName;
  if (runtimeClass !== undefined && runtimeClass !== options.driverName) {
    return no(
      `runtimeClassName "${runtimeClass}" is not known on this node; it has "${options.driverName}"`,
      "RuntimeClassNotFound",
    );
  }
  if (options.driverName === processRuntimeClass && !container.command?.[0]) {
    return no(
      `container "${container.name}": command is required, there is no image to name one (write command: ["/path/to/program", …])`,
    );
  }
  for (const mount of container.volumeMounts ?? []) {
    const volume = pod.spec.volumes?.find(({ name }) => name === mount.name);
    if (volume?.hostPath?.path === mount.mountPath) continue;
    return no(
      `container "${container.name}": volumeMount "${mount.name}" at ${mount.mountPath}: processes see the host's own folders, so only a hostPath volume mounted at its own path works`,
    );
  }
  if (container.restartPolicy !== undefined) {
    return no(
      `container "${container.name}": restartPolicy of a single container is not supported`,
    );
  }
  for (const name of ["startupProbe", "readinessProbe", "livenessProbe"] as const) {
    if (container[name]?.grpc)
      return no(`container "${container.name}": ${name}: grpc is not supported`);
  }
  const { limits = {} } = container.resources ?? {};
  const required = pod.metadata.annotations?.[limitsAnnotation] === "required";
  if (required && Object.keys(limits).length > 0 && options.abilities.limits === "none") {
    return no(
      `container "${container.name}": resource limits cannot be enforced on this node, and ${limitsAnnotation} is "required"`,
    );
  }
  return undefined;
}

export async function instanceSpecOf(
  deps: SpecificationDeps,
  pod: Pod,
  container: Container,
  start: { attempt: number; crashes: number; leaseSentBootMs?: number | undefined },
): Promise<Outcome<InstanceSpec>> {
  const fence = pod.metadata.annotations?.[fenceAnnotation];
  const leased = onPartitionOf(pod) === "stop";
  const base = {
    ...deps.baseEnvironment,
    POD_NAME: pod.metadata.name,
    POD_NAMESPACE: pod.metadata.namespace ?? "default",
    POD_IP: deps.node.address,
    NODE_NAME: deps.node.name,
    ...(fence === undefined ? {} : { SKERRY_FENCE: fence }),
    ...(await deps.environment.variables(pod)),
  };
  const environment = await resolveEnvironment(deps, pod, container, { node: deps.node, base });
  if (!environment.ok) return environment;
  const env = environment.value;
  const security = { ...pod.spec.securityContext, ...container.securityContext };
  if (security.runAsNonRoot && security.runAsUser === 0) {
    return refuse(
      "CreateContainerConfigError",
      `container "${container.name}": runAsNonRoot with runAsUser 0`,
      true,
    );
  }
  const { memory, cpu } = container.resources?.limits ?? {};
  const owner = {
    podUid: pod.metadata.uid ?? "",
    namespace: pod.metadata.namespace ?? "default",
    podName: pod.metadata.name,
    container: container.name,
    attempt: start.attempt,
    crashes: start.crashes,
  };
  return {
    ok: true,
    value: {
      id: instanceId(owner),
      owner,
      image: container.image ?? "host",
      argv: [...(container.command ?? []), ...(container.args ?? [])].map((text) =>
        expand(text, env),
      ),
      env,
      graceMs: graceMsOf(pod),
      leased,
      ...(leased ? { leaseTtlMs: partitionTtlMsOf(pod) } : {}),
      ...(start.leaseSentBootMs === undefined ? {} : { leaseSentBootMs: start.leaseSentBootMs }),
      limits: {
        ...(memory === undefined ? {} : { memoryBytes: Math.ceil(parseQuantity(memory)) }),
        ...(cpu === undefined ? {} : { cpuMilli: parseMilliQuantity(cpu) }),
      },
      ...(container.workingDir === undefined ? {} : { workingDirectory: container.workingDir }),
      ...(security.runAsUser === undefined ? {} : { user: security.runAsUser }),
      ...(security.runAsGroup === undefined ? {} : { group: security.runAsGroup }),
    },
  };
}

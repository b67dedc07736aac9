/** Pod: what runs. Its spec changes little once written; its status is its node's word. */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";
import { count, integer, listByKey, listOf, opaque, time } from "../schema/builders.ts";
import { stable } from "../../lib/stable.ts";
import { conditionIsTrue, conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { ageOf, metadataSchema } from "./metadata.ts";
import { partitionChangeIssues, partitionIssues } from "./pod-partition.ts";
import { defaultPodSpec, podSpecIssues } from "./pod-rules.ts";
import { podSpecSchema } from "./pod-spec.ts";

const containerStateSchema = z
  .strictObject({
    waiting: z.strictObject({ reason: z.string(), message: z.string() }).partial(),
    running: z.strictObject({ startedAt: time }).partial(),
    terminated: z.strictObject({
      exitCode: integer,
      signal: integer.optional(),
      reason: z.string().optional(),
      message: z.string().optional(),
      startedAt: time.optional(),
      finishedAt: time.optional(),
      containerID: z.string().optional(),
    }),
  })
  .partial();
export type ContainerState = z.infer<typeof containerStateSchema>;

const containerStatusSchema = z.strictObject({
  name: z.string(),
  ready: z.boolean(),
  restartCount: count,
  image: z.string(),
  imageID: z.string(),
  containerID: z.string().optional(),
  started: z.boolean().optional(),
  state: containerStateSchema.optional(),
  lastState: containerStateSchema.optional(),
  resources: opaque.optional(),
});
export type ContainerStatus = z.infer<typeof containerStatusSchema>;

export const podPhases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"] as const;

const podStatusSchema = z
  .strictObject({
    phase: z.enum(podPhases),
    conditions: conditionsSchema,
    reason: z.string(),
    message: z.string(),
    hostIP: z.string(),
    hostIPs: listOf(z.strictObject({ ip: z.string() })),
    podIP: z.string(),
    podIPs: listByKey(z.strictObject({ ip: z.string() }), ["ip"]),
    startTime: time,
    qosClass: z.string(),
    observedGeneration: count,
    nominatedNodeName: z.string(),
    containerStatuses: listOf(containerStatusSchema),
    initContainerStatuses: listOf(containerStatusSchema),
  })
  .partial();
export type PodStatus = z.infer<typeof podStatusSchema>;

const podSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Pod"),
  metadata: metadataSchema,
  spec: podSpecSchema,
  status: podStatusSchema.optional(),
});
export type Pod = z.infer<typeof podSchema>;

export const podKind = defineKind<Pod>({
  version: "v1",
  kind: "Pod",
  plural: "pods",
  shortNames: ["po"],
  categories: ["all"],
  schema: podSchema,
  subresources: ["status", "log", "eviction"],
  ownColumns: [
    {
      name: "Ready",
      type: "string",
      description: "Ready containers of all containers.",
      cell: (pod) => {
        const statuses = pod.status?.containerStatuses ?? [];
        return `${statuses.filter((status) => status.ready).length}/${pod.spec.containers.length}`;
      },
    },
    {
      name: "Status",
      type: "string",
      description: "Phase, or the reason a container waits or ended.",
      cell: podStatusText,
    },
    {
      name: "Restarts",
      type: "string",
      description: "Restarts of all containers, and when the last one was.",
      cell: restartsText,
    },
    {
      name: "IP",
      type: "string",
      wide: true,
      description: "Address of the pod.",
      cell: (pod) => pod.status?.podIP ?? "<none>",
    },
    {
      name: "Node",
      type: "string",
      wide: true,
      description: "Node the pod was assigned to.",
      cell: (pod) => pod.spec.nodeName || "<none>",
    },
    {
      name: "Nominated Node",
      type: "string",
      wide: true,
      description: "Node that makes room for the pod.",
      cell: (pod) => pod.status?.nominatedNodeName || "<none>",
    },
    {
      name: "Readiness Gates",
      type: "string",
      wide: true,
      description: "Conditions beyond the containers; Skerry has none.",
      cell: () => "<none>",
    },
  ],
  fieldValues: (pod) => ({
    "spec.nodeName": pod.spec.nodeName ?? "",
    "spec.restartPolicy": pod.spec.restartPolicy ?? "",
    "spec.schedulerName": pod.spec.schedulerName ?? "",
    "spec.serviceAccountName": pod.spec.serviceAccountName ?? "",
    "spec.hostNetwork": String(pod.spec.hostNetwork ?? false),
    "status.phase": pod.status?.phase ?? "",
    "status.podIP": pod.status?.podIP ?? "",
    "status.nominatedNodeName": pod.status?.nominatedNodeName ?? "",
  }),
  graceSeconds(pod) {
    // Nothing runs, or nothing runs any more: there is nothing to wait for.
    const over = pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
    return !pod.spec.nodeName || over ? 0 : (pod.spec.terminationGracePeriodSeconds ?? 30);
  },
  applyDefaults(pod) {
    defaultPodSpec(pod.spec);
    pod.status ??= {};
    pod.status.phase ??= "Pending";
  },
  validate: (pod, previous) => [
    ...partitionIssues(pod.metadata, "metadata"),
    ...podSpecIssues(pod.spec, "spec"),
    ...(previous ? changeIssues(pod, previous) : []),
  ],
});

/** What `kubectl get pods` shows under STATUS (kubernetes `printPod`). */
export function podStatusText(pod: Pod): string {
  let text = pod.status?.reason || pod.status?.phase || "Pending";
  for (const status of (pod.status?.containerStatuses ?? []).toReversed()) {
    const { waiting, terminated } = status.state ?? {};
    if (waiting?.reason) text = waiting.reason;
    else if (terminated?.reason) text = terminated.reason;
    else if (terminated)
      text = terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
  }
  if (!pod.metadata.deletionTimestamp) return text;
  return pod.status?.reason === "NodeLost" ? "Unknown" : "Terminating";
}

function restartsText(pod: Pod, nowMs: number): string {
  const statuses = pod.status?.containerStatuses ?? [];
  const restarts = statuses.reduce((sum, status) => sum + status.restartCount, 0);
  const lastMs = Math.max(
    ...statuses.map((status) => Date.parse(status.lastState?.terminated?.finishedAt ?? "")),
  );
  if (restarts === 0 || Number.isNaN(lastMs) || !Number.isFinite(lastMs)) return String(restarts);
  return `${restarts} (${ageOf(new Date(lastMs).toISOString(), nowMs)} ago)`;
}

/** Kubernetes' rule: images, grace and added tolerations may change, the node is set once, an end is final. */
function changeIssues(pod: Pod, previous: Pod): FieldIssue[] {
  // `stable` leaves out what is undefined.
  const fixed = ({ spec }: Pod) =>
    stable({
      ...spec,
      nodeName: undefined,
      activeDeadlineSeconds: undefined,
      terminationGracePeriodSeconds: undefined,
      tolerations: undefined,
      containers: spec.containers.map((container) => ({ ...container, image: undefined })),
      initContainers: spec.initContainers?.map((container) => ({ ...container, image: undefined })),
    });
  const { nodeName } = pod.spec;
  const before = previous.spec.nodeName;
  const issues: FieldIssue[] = [];
  if (before && nodeName !== before) {
    issues.push({
      field: "spec.nodeName",
      message: `the pod is on ${before} and cannot move to "${nodeName ?? ""}"`,
    });
  }
  if (fixed(pod) !== fixed(previous)) {
    issues.push({
      field: "spec",
      message:
        "may not change, apart from container images, activeDeadlineSeconds, terminationGracePeriodSeconds and tolerations; delete the pod and create it anew",
    });
  }
  if (before) issues.push(...partitionChangeIssues(pod, previous));
  const ended = previous.status?.phase;
  // A node that was cut off may still have another word under way: what has ended never runs again.
  if ((ended === "Succeeded" || ended === "Failed") && pod.status?.phase !== ended) {
    issues.push({
      field: "status.phase",
      message: `"${pod.status?.phase ?? ""}" is not allowed: the pod has ended (${ended})`,
    });
  }
  return issues;
}

export function podIsReady(pod: Pod): boolean {
  return !pod.metadata.deletionTimestamp && conditionIsTrue(pod.status?.conditions, "Ready");
}

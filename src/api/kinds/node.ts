/** Node: one machine of the cell. */
import * as z from "zod";
import { listByKey, listOf, opaque, port, quantities, setOf, time } from "../schema/builders.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";
import { roleLabelPrefix } from "./well-known.ts";

const taintSchema = z.strictObject({
  key: z.string(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
  timeAdded: time.optional(),
});
export type Taint = z.infer<typeof taintSchema>;

const nodeInfoSchema = z
  .strictObject({
    machineID: z.string(),
    systemUUID: z.string(),
    bootID: z.string(),
    kernelVersion: z.string(),
    osImage: z.string(),
    containerRuntimeVersion: z.string(),
    kubeletVersion: z.string(),
    kubeProxyVersion: z.string(),
    operatingSystem: z.string(),
    architecture: z.string(),
  })
  .partial();

const nodeSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Node"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      unschedulable: z.boolean(),
      taints: listOf(taintSchema),
      providerID: z.string(),
      podCIDR: z.string(),
      podCIDRs: setOf(z.string()),
    })
    .partial()
    .optional(),
  status: z
    .strictObject({
      addresses: listByKey(
        z.strictObject({
          type: z.enum(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]),
          address: z.string(),
        }),
        ["type", "address"],
        { patchKey: "type" },
      ),
      conditions: conditionsSchema,
      capacity: quantities,
      allocatable: quantities,
      nodeInfo: nodeInfoSchema,
      daemonEndpoints: z
        .strictObject({ kubeletEndpoint: z.strictObject({ Port: port }).partial() })
        .partial(),
      images: listOf(opaque),
      phase: z.string(),
    })
    .partial()
    .optional(),
});
export type Node = z.infer<typeof nodeSchema>;

export const nodeKind = defineKind<Node>({
  version: "v1",
  kind: "Node",
  plural: "nodes",
  shortNames: ["no"],
  namespaced: false,
  statusAtCreate: "kept",
  schema: nodeSchema,
  subresources: ["status"],
  ownColumns: [
    {
      name: "Status",
      type: "string",
      description: "Ready, NotReady or Unknown, and whether new pods may come.",
      cell: statusText,
    },
    {
      name: "Roles",
      type: "string",
      description: "What the node does for the cell.",
      cell: rolesText,
    },
    {
      name: "Version",
      type: "string",
      description: "Version of Skerry on the node.",
      cell: (node) => node.status?.nodeInfo?.kubeletVersion ?? "",
    },
    {
      name: "Internal-IP",
      type: "string",
      wide: true,
      description: "Address inside the cell.",
      cell: (node) => addressOf(node, "InternalIP") ?? "<none>",
    },
    {
      name: "External-IP",
      type: "string",
      wide: true,
      description: "Address outside the cell.",
      cell: (node) => addressOf(node, "ExternalIP") ?? "<none>",
    },
    {
      name: "OS-Image",
      type: "string",
      wide: true,
      description: "Operating system.",
      cell: (node) => node.status?.nodeInfo?.osImage ?? "<unknown>",
    },
    {
      name: "Kernel-Version",
      type: "string",
      wide: true,
      description: "Kernel.",
      cell: (node) => node.status?.nodeInfo?.kernelVersion ?? "<unknown>",
    },
    {
      name: "Container-Runtime",
      type: "string",
      wide: true,
      description: "Workload drivers.",
      cell: (node) => node.status?.nodeInfo?.containerRuntimeVersion ?? "<unknown>",
    },
  ],
  fieldValues: (node) => ({ "spec.unschedulable": String(node.spec?.unschedulable ?? false) }),
  applyDefaults(node) {
    node.spec ??= {};
    node.status ??= {};
  },
});

function statusText(node: Node): string {
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  const words = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (node.spec?.unschedulable) words.push("SchedulingDisabled");
  return words.join(",");
}

function rolesText(node: Node): string {
  const roles = Object.keys(node.metadata.labels ?? {})
    .filter((label) => label.startsWith(roleLabelPrefix))
    .map((label) => label.slice(roleLabelPrefix.length))
    .sort();
  return roles.length === 0 ? "<none>" : roles.join(",");
}

/** The node's first address of a type, such as `InternalIP`. */
export function addressOf(
  node: Node,
  type: "InternalIP" | "ExternalIP" | "Hostname",
): string | undefined {
  return node.status?.addresses?.find((entry) => entry.type === type)?.address;
}

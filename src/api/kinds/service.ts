/** Service: a name for the ready pods that a selector finds. */
import * as z from "zod";
import {
  count,
  intOrString,
  listByKey,
  listOf,
  opaque,
  port,
  protocol,
  textMap,
} from "../schema/builders.ts";
import { dnsLabelProblem } from "../values/names.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const servicePortSchema = z.strictObject({
  name: z.string().optional(),
  port,
  protocol: protocol.optional(),
  targetPort: intOrString.optional(),
  nodePort: count.optional(),
  appProtocol: z.string().optional(),
});
export type ServicePort = z.infer<typeof servicePortSchema>;

const serviceSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Service"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      type: z.enum(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
      selector: textMap,
      ports: listByKey(servicePortSchema, ["port", "protocol"]),
      clusterIP: z.string(),
      clusterIPs: listOf(z.string()),
      externalIPs: listOf(z.string()),
      externalName: z.string(),
      externalTrafficPolicy: z.string(),
      internalTrafficPolicy: z.string(),
      trafficDistribution: z.string(),
      ipFamilies: listOf(z.string()),
      ipFamilyPolicy: z.string(),
      loadBalancerIP: z.string(),
      loadBalancerClass: z.string(),
      loadBalancerSourceRanges: listOf(z.string()),
      allocateLoadBalancerNodePorts: z.boolean(),
      healthCheckNodePort: count,
      publishNotReadyAddresses: z.boolean(),
      sessionAffinity: z.enum(["None", "ClientIP"]),
      sessionAffinityConfig: opaque,
    })
    .partial(),
  status: z
    .strictObject({ loadBalancer: opaque, conditions: conditionsSchema })
    .partial()
    .optional(),
});
export type Service = z.infer<typeof serviceSchema>;

export const serviceKind = defineKind<Service>({
  version: "v1",
  kind: "Service",
  plural: "services",
  shortNames: ["svc"],
  categories: ["all"],
  schema: serviceSchema,
  subresources: ["status"],
  nameProblem: dnsLabelProblem,
  ownColumns: [
    {
      name: "Type",
      type: "string",
      description: "How the service is reached.",
      cell: ({ spec }) => spec.type ?? "ClusterIP",
    },
    {
      name: "Cluster-IP",
      type: "string",
      description: "Always None: services are reached by name through the mesh and the ingress.",
      cell: ({ spec }) => spec.clusterIP || "None",
    },
    {
      name: "External-IP",
      type: "string",
      description: "Addresses outside the cell.",
      cell: ({ spec }) => spec.externalIPs?.join(",") || spec.externalName || "<none>",
    },
    {
      name: "Port(s)",
      type: "string",
      description: "Ports and protocols.",
      cell: ({ spec }) =>
        (spec.ports ?? []).map((entry) => `${entry.port}/${entry.protocol ?? "TCP"}`).join(",") ||
        "<none>",
    },
    {
      name: "Selector",
      type: "string",
      wide: true,
      description: "Labels of the pods behind the service.",
      cell: ({ spec }) =>
        Object.entries(spec.selector ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(",") || "<none>",
    },
  ],
  fieldValues: ({ spec }) => ({
    "spec.type": spec.type ?? "",
    "spec.clusterIP": spec.clusterIP ?? "",
  }),
  applyDefaults({ spec }) {
    spec.type ??= "ClusterIP";
    spec.sessionAffinity ??= "None";
    for (const entry of spec.ports ?? []) {
      entry.protocol ??= "TCP";
      entry.targetPort ??= entry.port;
    }
  },
  validate({ spec }) {
    const issues = [];
    const ports = spec.ports ?? [];
    if (ports.length === 0 && spec.type !== "ExternalName" && spec.clusterIP !== "None")
      issues.push({ field: "spec.ports", message: "needs at least one port" });
    if (spec.type === "ExternalName" && !spec.externalName)
      issues.push({ field: "spec.externalName", message: "is required by the type ExternalName" });
    const seen = new Set<string>();
    for (const [index, entry] of ports.entries()) {
      const field = `spec.ports[${index}]`;
      if (ports.length > 1 && !entry.name)
        issues.push({
          field: `${field}.name`,
          message: "is required when there are several ports",
        });
      const problem = entry.name ? dnsLabelProblem(entry.name) : undefined;
      if (problem) issues.push({ field: `${field}.name`, message: problem });
      if (
        typeof entry.targetPort === "number" &&
        (entry.targetPort < 1 || entry.targetPort > 65_535)
      )
        issues.push({
          field: `${field}.targetPort`,
          message: `${entry.targetPort} must be from 1 to 65535, or the name of a container port`,
        });
      const identity = `${entry.port}/${entry.protocol}`;
      if (seen.has(identity)) issues.push({ field, message: `${identity} is there already` });
      seen.add(identity);
    }
    return issues;
  },
});

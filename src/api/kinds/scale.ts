/** The scale view (autoscaling/v1) of kinds that have one. */
import * as z from "zod";
import type { KubeObject } from "../records/object.ts";
import { count } from "../schema/builders.ts";
import { formatLabelSelector } from "../values/label-selector.ts";
import { metadataSchema } from "./metadata.ts";
import type { LabelSelector } from "./pod-placement.ts";

export const scaleSchema = z.strictObject({
  apiVersion: z.literal("autoscaling/v1"),
  kind: z.literal("Scale"),
  metadata: metadataSchema,
  spec: z.strictObject({ replicas: count.optional() }).optional(),
  status: z.strictObject({ replicas: count, selector: z.string().optional() }).optional(),
});
export type Scale = z.infer<typeof scaleSchema>;

type Scalable = KubeObject & {
  spec: { replicas?: number; selector?: LabelSelector };
  status?: { replicas?: number };
};

export function isScalable(object: KubeObject): object is Scalable {
  return "spec" in object && typeof object.spec === "object" && object.spec !== null;
}

/** What GET of the `scale` subresource answers. */
export function scaleOf(object: KubeObject): Scale {
  const { metadata } = object;
  const { spec, status } = isScalable(object) ? object : { spec: {}, status: {} };
  const selector = "selector" in spec ? spec.selector : undefined;
  return {
    apiVersion: "autoscaling/v1",
    kind: "Scale",
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      creationTimestamp: metadata.creationTimestamp,
    },
    spec: { replicas: ("replicas" in spec ? spec.replicas : undefined) ?? 1 },
    status: {
      replicas: status?.replicas ?? 0,
      ...(selector ? { selector: formatLabelSelector(selector) } : {}),
    },
  };
}

/** ReplicaSet: a number of pods of one template; deployments make one for each template. */
import * as z from "zod";
import { count } from "../schema/builders.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { podTemplateSchema } from "./deployment.ts";
import { metadataSchema } from "./metadata.ts";
import { labelSelectorSchema } from "./pod-placement.ts";
import { defaultTemplate, templateIssues, workloadColumns } from "./template.ts";

const replicaSetSchema = z.strictObject({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("ReplicaSet"),
  metadata: metadataSchema,
  spec: z.strictObject({
    replicas: count.optional(),
    minReadySeconds: count.optional(),
    selector: labelSelectorSchema,
    template: podTemplateSchema,
  }),
  status: z
    .strictObject({
      observedGeneration: count,
      replicas: count,
      fullyLabeledReplicas: count,
      readyReplicas: count,
      availableReplicas: count,
      terminatingReplicas: count,
      conditions: conditionsSchema,
    })
    .partial()
    .optional(),
});
export type ReplicaSet = z.infer<typeof replicaSetSchema>;

export const replicaSetKind = defineKind<ReplicaSet>({
  group: "apps",
  version: "v1",
  kind: "ReplicaSet",
  plural: "replicasets",
  shortNames: ["rs"],
  categories: ["all"],
  schema: replicaSetSchema,
  subresources: ["status", "scale"],
  ownColumns: [
    {
      name: "Desired",
      type: "integer",
      description: "Pods asked for.",
      cell: ({ spec }) => spec.replicas ?? 1,
    },
    {
      name: "Current",
      type: "integer",
      description: "Pods that exist.",
      cell: ({ status }) => status?.replicas ?? 0,
    },
    {
      name: "Ready",
      type: "integer",
      description: "Pods that are ready.",
      cell: ({ status }) => status?.readyReplicas ?? 0,
    },
    ...workloadColumns<ReplicaSet>(),
  ],
  applyDefaults({ spec }) {
    spec.replicas ??= 1;
    defaultTemplate(spec.template);
  },
  validate: templateIssues,
});

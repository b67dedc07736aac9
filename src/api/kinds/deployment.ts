/** Deployment: how many pods of a template should run, and how a new template replaces the old. */
import * as z from "zod";
import { count, intOrString, retainKeys } from "../schema/builders.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema, templateMetadataSchema } from "./metadata.ts";
import { labelSelectorSchema } from "./pod-placement.ts";
import { podSpecSchema } from "./pod-spec.ts";
import { defaultTemplate, templateIssues, workloadColumns } from "./template.ts";

export const podTemplateSchema = z.strictObject({
  metadata: templateMetadataSchema.optional(),
  spec: podSpecSchema,
});
export type PodTemplate = z.infer<typeof podTemplateSchema>;

const deploymentSchema = z.strictObject({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("Deployment"),
  metadata: metadataSchema,
  spec: z.strictObject({
    replicas: count.optional(),
    selector: labelSelectorSchema,
    template: podTemplateSchema,
    strategy: retainKeys(
      z
        .strictObject({
          type: z.enum(["RollingUpdate", "Recreate"]),
          rollingUpdate: z
            .strictObject({ maxSurge: intOrString, maxUnavailable: intOrString })
            .partial(),
        })
        .partial(),
    ).optional(),
    minReadySeconds: count.optional(),
    revisionHistoryLimit: count.optional(),
    progressDeadlineSeconds: count.optional(),
    paused: z.boolean().optional(),
  }),
  status: z
    .strictObject({
      observedGeneration: count,
      replicas: count,
      updatedReplicas: count,
      readyReplicas: count,
      availableReplicas: count,
      unavailableReplicas: count,
      terminatingReplicas: count,
      collisionCount: count,
      conditions: conditionsSchema,
    })
    .partial()
    .optional(),
});
export type Deployment = z.infer<typeof deploymentSchema>;

export const deploymentKind = defineKind<Deployment>({
  group: "apps",
  version: "v1",
  kind: "Deployment",
  plural: "deployments",
  shortNames: ["deploy"],
  categories: ["all"],
  schema: deploymentSchema,
  subresources: ["status", "scale"],
  ownColumns: [
    {
      name: "Ready",
      type: "string",
      description: "Ready pods of the pods asked for.",
      cell: ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`,
    },
    {
      name: "Up-to-date",
      type: "integer",
      description: "Pods of the current template.",
      cell: ({ status }) => status?.updatedReplicas ?? 0,
    },
    {
      name: "Available",
      type: "integer",
      description: "Pods that have been ready for minReadySeconds.",
      cell: ({ status }) => status?.availableReplicas ?? 0,
    },
    ...workloadColumns<Deployment>(),
  ],
  applyDefaults({ spec }) {
    spec.replicas ??= 1;
    spec.strategy ??= {};
    spec.strategy.type ??= "RollingUpdate";
    if (spec.strategy.type === "RollingUpdate") {
      spec.strategy.rollingUpdate = {
        maxSurge: "25%",
        maxUnavailable: "25%",
        ...spec.strategy.rollingUpdate,
      };
    }
    spec.revisionHistoryLimit ??= 10;
    spec.progressDeadlineSeconds ??= 600;
    defaultTemplate(spec.template);
  },
  validate(deployment, previous) {
    const issues = templateIssues(deployment, previous);
    const { strategy } = deployment.spec;
    if (strategy?.type === "Recreate" && strategy.rollingUpdate) {
      issues.push({
        field: "spec.strategy.rollingUpdate",
        message: "is not allowed with the strategy Recreate",
      });
    }
    for (const name of ["maxSurge", "maxUnavailable"] as const) {
      const value = strategy?.rollingUpdate?.[name];
      const valid =
        value === undefined || (typeof value === "number" ? value >= 0 : /^\d+%$/.test(value));
      if (!valid) {
        issues.push({
          field: `spec.strategy.rollingUpdate.${name}`,
          message: `"${value}" must be a number of pods or a percentage such as 25%`,
        });
      }
    }
    return issues;
  },
});

/** Which pods are meant, and where pods may and should run: selectors, affinity, tolerations, spreading. */
import * as z from "zod";
import { count, integer, listOf, textMap } from "../schema/builders.ts";

export const labelSelectorSchema = z
  .strictObject({
    matchLabels: textMap,
    matchExpressions: listOf(
      z.strictObject({
        key: z.string(),
        operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
        values: listOf(z.string()).optional(),
      }),
    ),
  })
  .partial();
export type LabelSelector = z.infer<typeof labelSelectorSchema>;

const requirement = z.strictObject({
  key: z.string(),
  operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
  values: listOf(z.string()).optional(),
});
const nodeSelectorTermSchema = z
  .strictObject({ matchExpressions: listOf(requirement), matchFields: listOf(requirement) })
  .partial();
export type NodeSelectorTerm = z.infer<typeof nodeSelectorTermSchema>;

const podAffinityTerm = z.strictObject({
  topologyKey: z.string(),
  labelSelector: labelSelectorSchema.optional(),
  namespaces: listOf(z.string()).optional(),
  namespaceSelector: labelSelectorSchema.optional(),
  matchLabelKeys: listOf(z.string()).optional(),
  mismatchLabelKeys: listOf(z.string()).optional(),
});
const podAffinity = z
  .strictObject({
    requiredDuringSchedulingIgnoredDuringExecution: listOf(podAffinityTerm),
    preferredDuringSchedulingIgnoredDuringExecution: listOf(
      z.strictObject({ weight: z.int().min(1).max(100), podAffinityTerm }),
    ),
  })
  .partial();

export const affinitySchema = z
  .strictObject({
    nodeAffinity: z
      .strictObject({
        requiredDuringSchedulingIgnoredDuringExecution: z.strictObject({
          nodeSelectorTerms: listOf(nodeSelectorTermSchema),
        }),
        preferredDuringSchedulingIgnoredDuringExecution: listOf(
          z.strictObject({
            weight: z.int().min(1).max(100),
            preference: nodeSelectorTermSchema,
          }),
        ),
      })
      .partial(),
    podAffinity,
    podAntiAffinity: podAffinity,
  })
  .partial();

export const tolerationSchema = z
  .strictObject({
    key: z.string(),
    operator: z.enum(["Exists", "Equal"]),
    value: z.string(),
    effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    tolerationSeconds: integer,
  })
  .partial();
export type Toleration = z.infer<typeof tolerationSchema>;

export const topologySpreadConstraintSchema = z.strictObject({
  maxSkew: z.int().min(1),
  topologyKey: z.string(),
  whenUnsatisfiable: z.enum(["DoNotSchedule", "ScheduleAnyway"]),
  labelSelector: labelSelectorSchema.optional(),
  matchLabelKeys: listOf(z.string()).optional(),
  minDomains: count.optional(),
  nodeAffinityPolicy: z.string().optional(),
  nodeTaintsPolicy: z.string().optional(),
});

/** The metadata every kind shares, its rules, and what kinds say about themselves in columns. */
import * as z from "zod";
import { formatDuration } from "../../lib/duration.ts";
import type { Column, FieldIssue } from "../kind.ts";
import type { KubeObject, ObjectMeta } from "../records/object.ts";
import { count, listByKey, listOf, opaque, setOf, textMap, time } from "../schema/builders.ts";
import { dnsSubdomainProblem, labelKeyProblem, labelValueProblem } from "../values/names.ts";

export const managedFieldsEntrySchema = z
  .strictObject({
    manager: z.string(),
    operation: z.enum(["Apply", "Update"]),
    apiVersion: z.string(),
    time,
    fieldsType: z.literal("FieldsV1"),
    fieldsV1: opaque,
    subresource: z.string(),
  })
  .partial();
export type ManagedFieldsEntry = z.infer<typeof managedFieldsEntrySchema>;

const ownerReferenceSchema = z.strictObject({
  apiVersion: z.string(),
  kind: z.string(),
  name: z.string(),
  uid: z.string(),
  controller: z.boolean().optional(),
  blockOwnerDeletion: z.boolean().optional(),
});

export const metadataSchema = z.strictObject({
  name: z.string(),
  namespace: z.string().optional(),
  generateName: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  generation: count.optional(),
  creationTimestamp: time.optional(),
  deletionTimestamp: time.optional(),
  deletionGracePeriodSeconds: count.optional(),
  labels: textMap.optional(),
  annotations: textMap.optional(),
  ownerReferences: listByKey(ownerReferenceSchema, ["uid"]).optional(),
  finalizers: setOf(z.string()).optional(),
  managedFields: listOf(managedFieldsEntrySchema).optional(),
  selfLink: z.string().optional(),
}) satisfies z.ZodType<ObjectMeta>;

/** Metadata of a pod template: only labels and annotations mean something. */
export const templateMetadataSchema = metadataSchema.partial();

const annotationsBytesMax = 256 * 1024;

/** What is wrong with labels and annotations, wherever they stand. */
export function labelIssues(
  metadata: { labels?: Record<string, string>; annotations?: Record<string, string> } | undefined,
  path: string,
): FieldIssue[] {
  const issues: FieldIssue[] = [];
  for (const [key, value] of Object.entries(metadata?.labels ?? {})) {
    const keyProblem = labelKeyProblem(key);
    if (keyProblem) issues.push({ field: `${path}.labels`, message: keyProblem });
    const valueProblem = labelValueProblem(value);
    if (valueProblem) issues.push({ field: `${path}.labels[${key}]`, message: valueProblem });
  }
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata?.annotations ?? {})) {
    const problem = labelKeyProblem(key.toLowerCase());
    if (problem) issues.push({ field: `${path}.annotations`, message: problem });
    bytes += key.length + value.length;
  }
  if (bytes > annotationsBytesMax) {
    issues.push({
      field: `${path}.annotations`,
      message: `${bytes} bytes are too long, at most ${annotationsBytesMax} are allowed`,
    });
  }
  return issues;
}

/** Rules for `metadata` that hold for all kinds. */
export function metadataIssues(
  object: KubeObject,
  kind: { namespaced: boolean; nameProblem?: ((name: string) => string | undefined) | undefined },
): FieldIssue[] {
  const { metadata } = object;
  const issues: FieldIssue[] = [];
  const problem = (kind.nameProblem ?? dnsSubdomainProblem)(metadata.name);
  if (problem) issues.push({ field: "metadata.name", message: problem });
  if (kind.namespaced && !metadata.namespace) {
    issues.push({ field: "metadata.namespace", message: `${object.kind} needs a namespace` });
  }
  if (!kind.namespaced && metadata.namespace) {
    issues.push({
      field: "metadata.namespace",
      message: `"${metadata.namespace}" is not allowed: ${object.kind} belongs to the whole cell`,
    });
  }
  const controllers = (metadata.ownerReferences ?? []).filter((owner) => owner.controller);
  if (controllers.length > 1) {
    issues.push({
      field: "metadata.ownerReferences",
      message: `only one owner may be the controller, got ${controllers.length}`,
    });
  }
  for (const [index, finalizer] of (metadata.finalizers ?? []).entries()) {
    const finalizerProblem = labelKeyProblem(finalizer);
    if (finalizerProblem)
      issues.push({ field: `metadata.finalizers[${index}]`, message: finalizerProblem });
  }
  return [...issues, ...labelIssues(metadata, "metadata")];
}

/** How long ago, as kubectl writes it; `<unknown>` without a time. */
export function ageOf(since: string | undefined, nowMs: number): string {
  const sinceMs = since === undefined ? Number.NaN : Date.parse(since);
  return Number.isNaN(sinceMs) ? "<unknown>" : formatDuration(nowMs - sinceMs);
}

export const nameColumn: Column<KubeObject> = {
  name: "Name",
  type: "string",
  description: "Name, unique within its namespace.",
  cell: (object) => object.metadata.name,
};

export const ageColumn: Column<KubeObject> = {
  name: "Age",
  type: "string",
  description: "Time since the object was created.",
  cell: (object, nowMs) => ageOf(object.metadata.creationTimestamp, nowMs),
};

/**
 * Collection: JSON documents that merge field by field, on every node of the cell. Without `egress`
 * nothing leaves (DESIGN rule P).
 */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";
import { egressSchema, egressText } from "../schema/egress.ts";
import { count, integer, listByKey, listOf } from "../schema/builders.ts";
import { keepingIssues } from "./collection-keeping.ts";
import { fieldIssues, fieldSchema, indexIssues, strongIssues } from "./collection-fields.ts";
import { referenceSchema, ruleIssues, uniqueSchema } from "./collection-rules.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const collectionSchema = z.strictObject({
  apiVersion: z.literal("skerry.dev/v1alpha1"),
  kind: z.literal("Collection"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      description: z.string(),
      /** Goes with every write; raise it when the fields change. 1 when absent. */
      schemaVersion: count,
      /** What is not listed is kept as it is sent. */
      fields: listByKey(fieldSchema, ["path"]),
      /** Of a write that does not fit the fields: `refuse` (default) or `warn`. */
      onMismatch: z.string(),
      /** Who writes and who has them: `cell`; the hub has them (`cellsToHub`), writes them (`hubToCells`), or `both`. */
      scope: z.string(),
      /** `merge`: always writable, copies converge; `strong`: one copy, in the cell's ledger. */
      consistency: z.string(),
      /** Which fields leave the cell. A value leaves whole or not at all: paths go through maps only. */
      egress: egressSchema,
      /** Fields that queries find and sort documents by without looking at all of them. */
      indexes: listByKey(z.strictObject({ path: z.string() }), ["path"]),
      /** What no two documents have alike. */
      unique: listOf(uniqueSchema),
      /** Fields that name documents of a collection. */
      references: listByKey(referenceSchema, ["path"]),
      /** What nobody changed for `maxAge` is deleted; without it documents stay until somebody deletes them. */
      retention: z.strictObject({ maxAge: z.string() }),
      /** Towards the hub the higher goes first. 0 when absent. */
      priority: integer,
    })
    .partial()
    .optional(),
});
export type Collection = z.infer<typeof collectionSchema>;

/** Whether its documents stand in the cell's ledger. */
export const isStrong = ({ spec }: Pick<Collection, "spec">): boolean =>
  spec?.consistency === "strong";

export const collectionKind = defineKind<Collection>({
  group: "skerry.dev",
  version: "v1alpha1",
  kind: "Collection",
  plural: "collections",
  namespaced: false,
  categories: ["skerry"],
  schema: collectionSchema,
  ownColumns: [
    {
      name: "Scope",
      type: "string",
      description: "Where the documents are.",
      cell: ({ spec }) => spec?.scope ?? "cell",
    },
    {
      name: "Egress",
      type: "string",
      description: "What may leave the cell.",
      cell: ({ spec }) => egressText(spec?.egress),
    },
    {
      name: "Consistency",
      type: "string",
      description: "How writes that meet are settled.",
      cell: ({ spec }) => spec?.consistency ?? "merge",
    },
    {
      name: "Fields",
      type: "integer",
      description: "Fields that are declared.",
      cell: ({ spec }) => spec?.fields?.length ?? 0,
    },
  ],
  applyDefaults(collection) {
    collection.spec ??= {};
    collection.spec.schemaVersion ??= 1;
    collection.spec.onMismatch ??= "refuse";
    collection.spec.scope ??= "cell";
    collection.spec.consistency ??= "merge";
  },
  validate({ spec = {} }, previous) {
    const issues: FieldIssue[] = [];
    const only = (field: "scope" | "consistency" | "onMismatch", allowed: readonly string[]) => {
      const value = spec[field];
      if (value === undefined || allowed.includes(value)) return;
      issues.push({
        field: `spec.${field}`,
        message: `"${value}" must be ${allowed.join(" or ")}`,
      });
    };
    only("scope", ["cell", "cellsToHub", "hubToCells", "both"]);
    const leaves = spec.scope === "cellsToHub" || spec.scope === "both";
    if (leaves && spec.egress === undefined)
      issues.push({
        field: "spec.egress",
        message: "is missing: without it nothing of a collection with this scope leaves",
      });
    if (!leaves && spec.egress !== undefined)
      issues.push({
        field: "spec.scope",
        message: "must be cellsToHub or both for documents to leave by spec.egress",
      });
    only("consistency", ["merge", "strong"]);
    if (isStrong({ spec })) issues.push(...strongIssues(spec));
    if (previous && isStrong({ spec }) !== isStrong(previous))
      issues.push({
        field: "spec.consistency",
        message: `"${spec.consistency}" cannot replace "${previous.spec?.consistency ?? "merge"}": the documents stand elsewhere; make another Collection and write them there`,
      });
    only("onMismatch", ["refuse", "warn"]);
    return [
      ...issues,
      ...fieldIssues(spec.fields ?? []),
      ...indexIssues(spec.indexes ?? []),
      ...ruleIssues(spec),
      ...keepingIssues(spec),
    ];
  },
});

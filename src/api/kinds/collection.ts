/**
 * Collection: JSON documents that merge field by field, on every node of the cell. Without `egress`
 * nothing leaves (DESIGN rule P). What is not built yet is refused by name rather than ignored.
 */
import { z } from "zod";
import type { FieldIssue } from "../kind.ts";
import { egressSchema, egressText } from "../schema/egress.ts";
import { count, listByKey, opaque } from "../schema/builders.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const fieldTypes = [
  "string",
  "number",
  "integer",
  "boolean",
  "any",
  "counter",
  "set",
  "list",
] as const;

const fieldSchema = z.strictObject({
  /** A JSON pointer (RFC 6901): `/address/city`. */
  path: z.string(),
  /** `counter`, `set` and `list` merge as such; of all others the last write holds. */
  type: z.string(),
  required: z.boolean().optional(),
});

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
      /** Who writes and who has them: `cell`; the hub as well (`cellsToHub`); written there (`hubToCells`). */
      scope: z.string(),
      /** `merge`: always writable, copies converge. */
      consistency: z.string(),
      /** Which fields leave the cell. A value leaves whole or not at all: paths go through maps only. */
      egress: egressSchema,
      /** Fields that queries find and sort documents by without looking at all of them. */
      indexes: listByKey(z.strictObject({ path: z.string() }), ["path"]),
      retention: opaque,
      priority: z.int(),
    })
    .partial()
    .optional(),
});
export type Collection = z.infer<typeof collectionSchema>;
export type CollectionFieldType = (typeof fieldTypes)[number];

const fieldsMax = 200;
const indexesMax = 16;
const pointer = /^(\/([^/~]|~[01])*)+$/;
const notBuilt = {
  retention: "documents stay until they are deleted",
  priority: "all collections are replicated alike",
} as const;

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
  validate({ spec = {} }) {
    const issues: FieldIssue[] = [];
    const only = (
      field: "scope" | "consistency" | "onMismatch",
      allowed: readonly string[],
      planned: readonly string[] = [],
    ) => {
      const value = spec[field];
      if (value === undefined || allowed.includes(value)) return;
      const built = planned.includes(value) ? "is not built yet; it must be" : "must be";
      issues.push({
        field: `spec.${field}`,
        message: `"${value}" ${built} ${allowed.join(" or ")}`,
      });
    };
    only("scope", ["cell", "cellsToHub", "hubToCells"], ["both"]);
    const leaves = spec.scope === "cellsToHub";
    if (leaves && spec.egress === undefined)
      issues.push({
        field: "spec.egress",
        message: "is missing: without it nothing of a collection with this scope leaves",
      });
    if (!leaves && spec.egress !== undefined)
      issues.push({
        field: "spec.scope",
        message: "must be cellsToHub for documents to leave by spec.egress",
      });
    only("consistency", ["merge"], ["strong"]);
    only("onMismatch", ["refuse", "warn"]);
    for (const [name, instead] of Object.entries(notBuilt)) {
      if (spec[name as keyof typeof notBuilt] !== undefined)
        issues.push({
          field: `spec.${name}`,
          message: `is not built yet: ${instead}; leave it out`,
        });
    }
    return [...issues, ...fieldIssues(spec.fields ?? []), ...indexIssues(spec.indexes ?? [])];
  },
});

function fieldIssues(fields: readonly z.infer<typeof fieldSchema>[]): FieldIssue[] {
  const issues: FieldIssue[] = [];
  if (fields.length > fieldsMax)
    issues.push({ field: "spec.fields", message: `${fields.length} fields; at most ${fieldsMax}` });
  const paths = fields.map(({ path }) => path);
  for (const [index, { path, type }] of fields.entries()) {
    const at = `spec.fields[${index}]`;
    issues.push(...pathIssues(path, `${at}.path`, paths.indexOf(path) !== index));
    const above = fields.find((field) => path.startsWith(`${field.path}/`));
    if (above && above.type !== "any")
      issues.push({
        field: `${at}.path`,
        message: `"${path}" is below ${above.path}, which is declared as ${above.type}`,
      });
    if (!(fieldTypes as readonly string[]).includes(type)) {
      const built = type === "text" ? "is not built yet; it must be" : "must be";
      issues.push({ field: `${at}.type`, message: `"${type}" ${built} ${fieldTypes.join(", ")}` });
    }
  }
  return issues;
}

function indexIssues(indexes: readonly { readonly path: string }[]): FieldIssue[] {
  const paths = indexes.map(({ path }) => path);
  const many =
    indexes.length > indexesMax
      ? [{ field: "spec.indexes", message: `${indexes.length} indexes; at most ${indexesMax}` }]
      : [];
  return [
    ...many,
    ...paths.flatMap((path, index) =>
      pathIssues(path, `spec.indexes[${index}].path`, paths.indexOf(path) !== index),
    ),
  ];
}

function pathIssues(path: string, field: string, isTwice: boolean): FieldIssue[] {
  const issues: FieldIssue[] = [];
  if (!pointer.test(path))
    issues.push({
      field,
      message: `"${path}" must be a JSON pointer such as /stock or /address/city`,
    });
  if (isTwice) issues.push({ field, message: `"${path}" is declared twice` });
  return issues;
}

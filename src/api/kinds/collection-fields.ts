/** Fields and indexes of a Collection. */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";

const fieldTypes = [
  "string",
  "number",
  "integer",
  "boolean",
  "any",
  "counter",
  "set",
  "list",
  "text",
] as const;

export const fieldSchema = z.strictObject({
  /** A JSON pointer (RFC 6901): `/address/city`. */
  path: z.string(),
  /** `counter`, `set`, `list` and `text` merge as such; of all others the last write holds. */
  type: z.string(),
  required: z.boolean().optional(),
});
export type CollectionFieldType = (typeof fieldTypes)[number];

const fieldsMax = 200;
const indexesMax = 16;
const pointer = /^(\/([^/~]|~[01])*)+$/;

export function fieldIssues(fields: readonly z.infer<typeof fieldSchema>[]): FieldIssue[] {
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
    if (!(fieldTypes as readonly string[]).includes(type))
      issues.push({ field: `${at}.type`, message: `"${type}" must be ${fieldTypes.join(", ")}` });
  }
  return issues;
}

export function indexIssues(indexes: readonly { readonly path: string }[]): FieldIssue[] {
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

type OfStrong = {
  readonly scope?: string | undefined;
  readonly fields?: readonly z.infer<typeof fieldSchema>[] | undefined;
  readonly indexes?: readonly unknown[] | undefined;
  readonly unique?: readonly unknown[] | undefined;
  readonly references?: readonly unknown[] | undefined;
};

/** What has no meaning where nothing merges, nothing leaves, and no store is asked. */
export function strongIssues({ scope, fields = [], ...rest }: OfStrong): FieldIssue[] {
  const issues: FieldIssue[] = [];
  if (scope !== undefined && scope !== "cell")
    issues.push({
      field: "spec.scope",
      message: `"${scope}" must be cell with consistency: strong: what is in the ledger stays there`,
    });
  for (const [index, { path, type }] of fields.entries())
    if (type === "text")
      issues.push({
        field: `spec.fields[${index}].type`,
        message: `"text" of ${path} merges edits; with consistency: strong it must be string`,
      });
  for (const name of ["indexes", "unique", "references"] as const)
    if ((rest[name] ?? []).length > 0)
      issues.push({
        field: `spec.${name}`,
        message: "must not be there with consistency: strong: documents are found by id only",
      });
  return issues;
}

export function pathIssues(path: string, field: string, isTwice: boolean): FieldIssue[] {
  const issues: FieldIssue[] = [];
  if (!pointer.test(path))
    issues.push({
      field,
      message: `"${path}" must be a JSON pointer such as /stock or /address/city`,
    });
  if (isTwice) issues.push({ field, message: `"${path}" is declared twice` });
  return issues;
}

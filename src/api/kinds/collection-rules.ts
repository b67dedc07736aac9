/** Rules of a Collection between its documents, and towards those of others. */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";
import { pathIssues, type fieldSchema } from "./collection-fields.ts";

export const uniqueSchema = z.strictObject({
  /** JSON pointers: no two documents have the same values at all of them. */
  paths: z.array(z.string()),
});

export const referenceSchema = z.strictObject({
  /** A JSON pointer to the id, or a list of ids, of documents. */
  path: z.string(),
  /** Whose documents these are. */
  collection: z.string(),
  /** Of a deletion of one that is named: `refuse` (default), or `keep` what names it. */
  onDelete: z.string().optional(),
});

type Rules = {
  readonly scope?: string | undefined;
  readonly fields?: readonly z.infer<typeof fieldSchema>[] | undefined;
  readonly unique?: readonly z.infer<typeof uniqueSchema>[] | undefined;
  readonly references?: readonly z.infer<typeof referenceSchema>[] | undefined;
};

const uniqueMax = 8;
const pathsMax = 8;
const referencesMax = 16;
/** Of these a document has many values at once, or one that grows without anybody writing it. */
const notUnique = ["counter", "set", "list", "text"];
const notReferences = ["number", "integer", "boolean", "counter", "text"];

export function ruleIssues({ scope, fields = [], unique = [], references = [] }: Rules) {
  const issues: FieldIssue[] = [];
  const add = (field: string, message: string) => issues.push({ field, message });
  const typeAt = (path: string) => fields.find((field) => field.path === path)?.type ?? "any";
  if (scope === "hubToCells" && unique.length > 0)
    add("spec.unique", "must not be there: the hub writes these documents, and knows no rules");
  if (scope === "hubToCells" && references.length > 0)
    add("spec.references", "must not be there: the hub writes these documents, and knows no rules");
  if (unique.length > uniqueMax) add("spec.unique", `${unique.length} rules; at most ${uniqueMax}`);
  if (references.length > referencesMax)
    add("spec.references", `${references.length} rules; at most ${referencesMax}`);
  const texts = unique.map(({ paths }) => paths.join(" "));
  for (const [index, { paths }] of unique.entries()) {
    const at = `spec.unique[${index}].paths`;
    if (paths.length === 0 || paths.length > pathsMax)
      add(at, `${paths.length} paths; must be 1 to ${pathsMax}`);
    if (texts.indexOf(paths.join(" ")) !== index) add(at, "is declared twice");
    for (const [place, path] of paths.entries()) {
      issues.push(...pathIssues(path, `${at}[${place}]`, paths.indexOf(path) !== place));
      const type = typeAt(path);
      if (notUnique.includes(type))
        add(`${at}[${place}]`, `"${path}" is declared as ${type}, which cannot be unique`);
    }
  }
  const named = references.map(({ path }) => path);
  for (const [index, { path, collection, onDelete }] of references.entries()) {
    const at = `spec.references[${index}]`;
    issues.push(...pathIssues(path, `${at}.path`, named.indexOf(path) !== index));
    const type = typeAt(path);
    if (notReferences.includes(type))
      add(`${at}.path`, `"${path}" is declared as ${type}, which cannot name a document`);
    if (collection === "") add(`${at}.collection`, "must be the name of a Collection");
    if (onDelete !== undefined && onDelete !== "refuse" && onDelete !== "keep")
      add(`${at}.onDelete`, `"${onDelete}" must be refuse or keep`);
  }
  return issues;
}

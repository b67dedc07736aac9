/**
 * Rules between documents, pure: what a document claims by them. A claim of a unique value dates from
 * the write that made it what it is, so that of two documents every store finds the same one earlier.
 */
import { createHash } from "node:crypto";
import { stable } from "../../lib/stable.ts";
import { valueAt, type Json, type JsonObject } from "./json.ts";
import type { Stamp } from "./operation.ts";
import { namesOf } from "./pointer.ts";
import { byStamp, isCounted, type DocumentState } from "./state.ts";

/** No two documents have the same values at all of these JSON pointers; one without a value may. */
export type UniqueRule = { readonly paths: readonly string[] };

/** What stands at the JSON pointer is the id of a document of a collection, or a list of ids. */
export type ReferenceRule = {
  readonly path: string;
  readonly collection: string;
  /** Of a deletion of a document that is named: `refuse`, or `keep` what names it. */
  readonly onDelete: "refuse" | "keep";
};

/** What documents claim by it, whatever becomes of a deletion. */
export type Rule =
  | ({ readonly kind: "unique" } & UniqueRule)
  | ({ readonly kind: "reference" } & Omit<ReferenceRule, "onDelete">);

export const rulesOf = ({
  unique = [],
  references = [],
}: {
  readonly unique?: readonly UniqueRule[];
  readonly references?: readonly ReferenceRule[];
}): Rule[] => [
  ...unique.map(({ paths }) => ({ kind: "unique", paths }) as const),
  ...references.map(({ path, collection }) => ({ kind: "reference", path, collection }) as const),
];

/** Equal for rules that claim the same. */
export const ruleText = (rule: Rule): string => stable(rule);

/** `key`: of a reference the id of a document, of a unique rule a text for the values. */
export type Claim = Stamp & { readonly key: string };

export const valuesAt = (paths: readonly string[], body: JsonObject): (Json | undefined)[] =>
  paths.map((path) => valueAt(body, namesOf(path)));

/** Without repetition. A document that lacks one of the fields of a unique rule claims nothing. */
export function keysOf(rule: Rule, body: JsonObject | undefined): readonly string[] {
  if (!body) return [];
  if (rule.kind === "unique") {
    const values = valuesAt(rule.paths, body);
    return values.every(isScalar) ? [keyOf(values)] : [];
  }
  const value = valueAt(body, namesOf(rule.path));
  return [...new Set((Array.isArray(value) ? value : [value]).filter(isText))];
}

/** Whether what stands there can name documents: an id, a list of ids, or nothing. */
export const isReference = (value: Json | undefined): boolean =>
  value === undefined ||
  value === null ||
  isText(value) ||
  (Array.isArray(value) && value.every(isText));

export function claimsOf(rule: Rule, body: JsonObject, state: DocumentState): readonly Claim[] {
  const keys = keysOf(rule, body);
  if (keys.length === 0) return [];
  if (rule.kind === "reference") return keys.map((key) => ({ key, ...undated }));
  const [latest] = rule.paths
    .flatMap((path): readonly Stamp[] => {
      const cell = state.cells.get(path);
      const isPlain = cell && cell.registers.length > 0 && !isCounted(cell);
      return (isPlain ? cell.registers : state.edits).slice(0, 1);
    })
    .sort(byStamp);
  const { hlc, origin, sequence } = latest ?? undated;
  return keys.map((key) => ({ key, hlc, origin, sequence }));
}

/** Nobody asks since when a document names another one. */
const undated: Stamp = { hlc: 0, origin: "", sequence: 0 };

const isText = (value: Json | undefined): value is string => typeof value === "string";

const isScalar = (value: Json | undefined): value is string | number | boolean =>
  isText(value) || typeof value === "number" || typeof value === "boolean";

const keyCharactersMax = 200;

/** JSON, or its digest where that is shorter; the two do not begin alike. */
function keyOf(values: readonly Json[]): string {
  const text = JSON.stringify(values);
  if (text.length <= keyCharactersMax) return text;
  return createHash("sha256").update(text).digest("base64url");
}

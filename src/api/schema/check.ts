/**
 * From a value that somebody sent to an object of its kind: fields that are null or unknown are set
 * aside first, so that the caller decides what unknown fields mean, then defaults are filled in,
 * then shape and rules are checked. Issues name the field, what was given and what is allowed.
 */
import type { FieldIssue, KindDefinition } from "../kind.ts";
import { apiVersionOf } from "../kind.ts";
import type { KubeObject } from "../records/object.ts";
import { structureOf, type Structure } from "./structure.ts";

/** Paths of fields that the kind does not have: `spec.template.spec.containers[0].imagee`. */
export function unknownFields(kind: KindDefinition, value: unknown): string[] {
  const unknown: string[] = [];
  prune(structureOf(kind.schema), value, "", unknown);
  return unknown;
}

/** A copy without unknown fields and without nulls (which in Kubernetes mean "not given"). */
export function pruneFields(
  kind: KindDefinition,
  value: unknown,
): { readonly value: unknown; readonly unknown: readonly string[] } {
  const unknown: string[] = [];
  return { value: prune(structureOf(kind.schema), value, "", unknown), unknown };
}

export type Checked<T> =
  | { readonly ok: true; readonly object: T; readonly unknown: readonly string[] }
  | {
      readonly ok: false;
      readonly issues: readonly FieldIssue[];
      readonly unknown: readonly string[];
    };

/**
 * Decides whether `value` may be stored as an object of `kind`. The result is a pruned copy with
 * defaults; `unknown` lists what was left out, for the caller to refuse, warn about or ignore.
 */
export function checkObject<T extends KubeObject>(
  kind: KindDefinition<T>,
  value: unknown,
  previous?: T,
): Checked<T> {
  const { value: pruned, unknown } = pruneFields(kind as KindDefinition, value);
  const identity = identityIssues(kind as KindDefinition, pruned);
  if (identity.length > 0) return { ok: false, issues: identity, unknown };
  // Defaults read nested fields, so the shape must hold before them and again after.
  const before = shapeIssues(kind, pruned);
  if (before.length > 0) return { ok: false, issues: before, unknown };
  const object = pruned as T;
  kind.applyDefaults(object);
  const issues = [...shapeIssues(kind, object), ...kind.validate(object, previous)];
  return issues.length > 0 ? { ok: false, issues, unknown } : { ok: true, object, unknown };
}

function identityIssues(kind: KindDefinition, value: unknown): FieldIssue[] {
  if (!isRecord(value)) return [{ field: "", message: `expected an object, got ${shown(value)}` }];
  const issues: FieldIssue[] = [];
  const wanted = { apiVersion: apiVersionOf(kind), kind: kind.kind };
  for (const [field, want] of Object.entries(wanted)) {
    if (value[field] !== want)
      issues.push({ field, message: `${shown(value[field])} must be "${want}"` });
  }
  return issues;
}

function shapeIssues<T extends KubeObject>(kind: KindDefinition<T>, value: unknown): FieldIssue[] {
  const result = kind.schema.safeParse(value);
  if (result.success) return [];
  return result.error.issues.map((issue) => {
    const given = valueAt(value, issue.path);
    return {
      field: pathText(issue.path),
      message:
        given === undefined && issue.code.startsWith("invalid")
          ? `is required (${lower(issue.message)})`
          : `${shown(given)}: ${lower(issue.message)}`,
    };
  });
}

const lower = (message: string) =>
  message
    .replace(/^Invalid input: /, "")
    .replace(/^([A-Z])(?=[a-z])/, (first) => first.toLowerCase());

function prune(structure: Structure, value: unknown, path: string, unknown: string[]): unknown {
  switch (structure.type) {
    case "object": {
      if (!isRecord(value)) return value;
      const out: Record<string, unknown> = {};
      for (const [name, field] of Object.entries(value)) {
        if (field === null) continue;
        const inner = structure.fields.get(name);
        const innerPath = path === "" ? name : `${path}.${name}`;
        if (inner) out[name] = prune(inner, field, innerPath, unknown);
        else unknown.push(innerPath);
      }
      return out;
    }
    case "map": {
      if (!isRecord(value)) return value;
      const entries = Object.entries(value)
        .filter(([, field]) => field !== null)
        .map(([name, field]) => [name, prune(structure.value, field, `${path}[${name}]`, unknown)]);
      return Object.fromEntries(entries);
    }
    case "list":
      return Array.isArray(value)
        ? value.map((item, index) => prune(structure.item, item, `${path}[${index}]`, unknown))
        : value;
    case "scalar":
      return value;
    case "any":
      return structuredClone(value);
    default:
      return structure satisfies never;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, part) =>
      typeof inner === "object" && inner !== null
        ? (inner as Record<PropertyKey, unknown>)[part]
        : undefined,
    value,
  );
}

const shownMax = 80;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
}

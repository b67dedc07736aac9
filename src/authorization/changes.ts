/** What a body would change, looked at without applying it. Pure. */
import { sameValue, type KubeObject } from "../api/index.ts";
import type { PatchBody } from "./request.ts";

/** Each a path; everything below it is included. */
export type FieldPaths = readonly (readonly string[])[];

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A top-level field of an object, whatever its kind. */
export function bodyFields(object: KubeObject | undefined, field: string): unknown {
  return (object as Readonly<Record<string, unknown>> | undefined)?.[field];
}

/** Equal as JSON; an absent field equals an empty object. */
export function sameContent(a: unknown, b: unknown): boolean {
  return sameValue(a ?? {}, b ?? {});
}

/** Label keys that are added, changed or removed between two versions. */
export function changedLabels(
  previous: KubeObject | undefined,
  next: KubeObject | undefined,
): readonly string[] {
  const before = new Map(Object.entries(previous?.metadata.labels ?? {}));
  const after = new Map(Object.entries(next?.metadata.labels ?? {}));
  return [...new Set([...before.keys(), ...after.keys()])].filter(
    (key) => before.get(key) !== after.get(key),
  );
}

/**
 * The first field that a patch touches outside `allowed`, as a dotted path; undefined when there is
 * none. Strategic merge directives (`$patch`, `$setElementOrder/…`) above an allowed path count as
 * touching, as they reach fields that they do not name.
 */
export function patchTouchesOnly(patch: PatchBody, allowed: FieldPaths): string | undefined {
  if (patch.type === "json") return jsonPatchTouches(patch.body, allowed);
  return isPlainObject(patch.body) ? stray(patch.body, [], allowed) : "the whole object";
}

function stray(
  body: Readonly<Record<string, unknown>>,
  path: readonly string[],
  allowed: FieldPaths,
): string | undefined {
  for (const [key, value] of Object.entries(body)) {
    const here = [...path, key];
    if (allowed.some((field) => isPrefix(field, here))) continue;
    const isAbove = allowed.some((field) => isPrefix(here, field));
    if (!isAbove || !isPlainObject(value)) return here.join(".");
    const below = stray(value, here, allowed);
    if (below !== undefined) return below;
  }
  return undefined;
}

function jsonPatchTouches(operations: readonly unknown[], allowed: FieldPaths): string | undefined {
  for (const operation of operations) {
    if (!isPlainObject(operation)) return "an operation that is no object";
    if (operation["op"] === "test") continue;
    const pointers = [operation["path"]];
    // `move` removes what it takes; `copy` only reads.
    if (operation["op"] === "move") pointers.push(operation["from"]);
    for (const pointer of pointers) {
      if (typeof pointer !== "string") return "a path that is no text";
      const path = pointer
        .split("/")
        .slice(1)
        .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
      if (!allowed.some((field) => isPrefix(field, path))) return pointer || "the whole object";
    }
  }
  return undefined;
}

function isPrefix(prefix: readonly string[], path: readonly string[]): boolean {
  return prefix.length <= path.length && prefix.every((part, index) => part === path[index]);
}

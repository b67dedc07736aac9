/** JSON values, and safe ways through them: a field may be called `__proto__`. */
import type { Json, JsonObject } from "../../lib/json.ts";
import { stable } from "../../lib/stable.ts";

export type { Json, JsonObject };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const fieldOf = (value: unknown, name: string): Json | undefined =>
  isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;

export const same = (a: Json | undefined, b: Json | undefined): boolean =>
  a === b || (isComposed(a) && isComposed(b) && stable(a) === stable(b));

const isComposed = (value: unknown) => typeof value === "object" && value !== null;

/** The value at the end of these names; undefined when there is none. */
export const valueAt = (value: Json | undefined, names: readonly string[]): Json | undefined =>
  names.reduce<Json | undefined>(fieldOf, value);

/** A copy of `object` with the value at `names`; what stands in the way of the path is replaced. */
export function withValue(
  object: JsonObject,
  [name = "", ...rest]: readonly string[],
  value: Json | undefined,
): JsonObject {
  const copy = objectOf(Object.entries(object).filter(([field]) => field !== name));
  const inner = fieldOf(object, name);
  const next =
    rest.length === 0
      ? value
      : isObject(inner)
        ? withValue(inner, rest, value)
        : value === undefined
          ? inner
          : withValue({}, rest, value);
  return next === undefined ? copy : objectOf([...Object.entries(copy), [name, next]]);
}

/** JSON merge patch, RFC 7396. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const fields = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) fields.delete(name);
    else fields.set(name, mergePatch(fields.get(name), value));
  }
  return objectOf(fields);
}

/** Without a prototype, so that every name is a plain field. */
export function objectOf(fields: Iterable<readonly [string, Json]>): JsonObject {
  const object = Object.create(null) as Record<string, Json>;
  for (const [name, value] of fields) object[name] = value;
  return object;
}

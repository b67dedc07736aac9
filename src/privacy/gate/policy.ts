/**
 * What of a JSON value a policy lets out. Pure. `keep` is read strictly: a path names one way down.
 * `drop` is read widely: a field goes when its names, joined by dots, spell the path, wherever the
 * dots stand in the names themselves, for a field dropped by mistake costs less than one leaked.
 */
import type { EgressPolicy } from "../../api/index.ts";
import { isRawNumber, type Json, type JsonObject } from "./body.ts";
import { parsePath, type Names } from "./paths.ts";

/** What a Collection object says of leaving, and its revision: of two policies the later one holds. */
export type CollectionEgress = { readonly policy: EgressPolicy; readonly revision: number };

export type CompiledPolicy = { readonly keep: Names[] | undefined; readonly drop: string[] };

/** Throws `invalid-egress`. */
export function compilePolicy({ keep, drop }: EgressPolicy): CompiledPolicy {
  return {
    // `drop` alone means all but these; neither means nothing.
    keep: keep?.map(parsePath) ?? (drop ? undefined : []),
    drop: (drop ?? []).map((path) => parsePath(path).join(".")),
  };
}

/**
 * The part of `value` that may leave; `{}` when none of its fields may. Never returns `value` itself.
 * What is dropped goes first: a container on the way to what is kept may be empty without it.
 */
export function filter({ keep, drop }: CompiledPolicy, value: JsonObject): JsonObject {
  const left = keep && drop.length === 0 ? value : (dropFields(value, drop) as JsonObject);
  return keep ? (keepFields(left, keep) ?? {}) : left;
}

/**
 * How much of a field may leave, by the names down to it: all of it, only something below it, nothing.
 */
export function reachOf(
  { keep, drop }: CompiledPolicy,
  names: Names,
): "whole" | "part" | "nothing" {
  const below = names.reduce<readonly string[] | undefined>(
    (paths, name) => (paths?.includes(name) ? undefined : paths && pathsBelow(paths, name)),
    drop,
  );
  if (!below) return "nothing";
  const isOnTheWay = (path: Names) =>
    path.every((name, at) => at >= names.length || name === names[at]);
  const kept = keep?.filter(isOnTheWay);
  if (kept?.length === 0) return "nothing";
  const isWhole = !kept || kept.some((path) => path.length <= names.length);
  return isWhole && below.length === 0 ? "whole" : "part";
}

/** What is left of dropped paths below a field of this name. */
const pathsBelow = (paths: readonly string[], name: string): string[] =>
  paths.filter((path) => path.startsWith(`${name}.`)).map((path) => path.slice(name.length + 1));

/** Containers left empty go as well: that they exist says something, too. */
function keepFields<T extends Json>(value: T, paths: readonly Names[]): T | undefined {
  if (Array.isArray(value)) {
    const items = value.flatMap((item: Json) => {
      const kept = keepFields(item, paths);
      return kept === undefined ? [] : [kept];
    });
    return items.length === 0 ? undefined : (items as Json as T);
  }
  if (!isObject(value)) return undefined;
  const result = emptyObject();
  let empty = true;
  for (const [name, field] of Object.entries(value as JsonObject)) {
    const below = paths.filter(([first]) => first === name);
    if (below.length === 0) continue;
    const whole = below.some((path) => path.length === 1);
    const kept = whole
      ? field
      : keepFields(
          field,
          below.map((path) => path.slice(1)),
        );
    if (kept === undefined) continue;
    result[name] = kept;
    empty = false;
  }
  return empty ? undefined : (result as Json as T);
}

/** `paths` are what is left of the dropped paths below this value. */
function dropFields(value: Json, paths: readonly string[]): Json {
  if (Array.isArray(value)) return value.map((item: Json) => dropFields(item, paths));
  if (!isObject(value)) return value;
  const result = emptyObject();
  for (const [name, field] of Object.entries(value)) {
    if (paths.includes(name)) continue;
    const below = pathsBelow(paths, name);
    result[name] = below.length === 0 ? field : dropFields(field, below);
  }
  return result;
}

const isObject = (value: Json): value is JsonObject =>
  typeof value === "object" && value !== null && !isRawNumber(value);

/** Without a prototype `__proto__` is a name like any other. */
const emptyObject = () => Object.create(null) as Record<string, Json>;

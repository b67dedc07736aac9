/** What of a document leaves the cell, by the definition and by nothing else. */
import type { EgressPolicy } from "../../src/api/index.ts";
import { isObject, objectOf, type Json, type JsonObject } from "../../src/data/documents/json.ts";

/** A field leaves whole, or, where it is a map, by the fields below it. */
export function leaving(
  policy: EgressPolicy,
  body: JsonObject,
  above: readonly string[] = [],
): JsonObject {
  const isPrefix = (short: readonly string[], long: readonly string[]) =>
    short.every((name, index) => long[index] === name);
  const [keep, drop] = [policy.keep, policy.drop ?? []].map((paths) =>
    paths?.map((path) => path.split(".")),
  );
  const fields = Object.entries(body).flatMap(([name, value]): [string, Json][] => {
    const names = [...above, name];
    const isKept = keep ? keep.some((path) => isPrefix(path, names)) : policy.drop !== undefined;
    const isCut = drop?.some((path) => isPrefix(path, names) || isPrefix(names, path));
    if (isKept && !isCut) return [[name, value]];
    if (!isObject(value)) return [];
    const inner = leaving(policy, value, names);
    return Object.keys(inner).length > 0 ? [[name, inner]] : [];
  });
  return objectOf(fields);
}

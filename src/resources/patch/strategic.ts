/**
 * Strategic merge patch, as kubectl sends it: lists that the schema declares mergeable are merged by
 * their key, and directives say what plain JSON cannot. Follows Kubernetes'
 * `apimachinery/pkg/util/strategicpatch`: `$patch: replace|delete|merge`, `$retainKeys`,
 * `$setElementOrder/FIELD`, `$deleteFromPrimitiveList/FIELD`.
 */
import { sameValue, type Structure } from "../../api/index.ts";
import { isObject, outcomeOf, PatchProblem, type JsonObject, type PatchOutcome } from "./values.ts";

type ListStructure = Extract<Structure, { type: "list" }>;

const anything: Structure = { type: "any" };
const orderPrefix = "$setElementOrder/";
const deletePrefix = "$deleteFromPrimitiveList/";

export function applyStrategicPatch(
  structure: Structure,
  target: unknown,
  patch: unknown,
): PatchOutcome {
  return outcomeOf(() => {
    if (!isObject(patch)) throw new PatchProblem("", "a strategic merge patch must be an object");
    return mergeObject(structure, isObject(target) ? target : {}, patch, "");
  });
}

function mergeObject(
  structure: Structure,
  target: JsonObject,
  patch: JsonObject,
  path: string,
): JsonObject {
  const directive = patch["$patch"];
  if (directive === "replace") return withoutDirectives(patch);
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge") throw unknownDirective(directive, path);

  const fields = new Map(Object.entries(target));
  retain(fields, patch, path);
  const at = (name: string) => (path === "" ? name : `${path}.${name}`);

  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith("$")) continue;
    const current = fields.get(name);
    const field = fieldOf(structure, name);
    if (value === null) fields.delete(name);
    else if (Array.isArray(value)) {
      const order = patch[orderPrefix + name];
      fields.set(name, mergeList(field, current, value, order, at(name)));
    } else if (isObject(value)) {
      fields.set(name, mergeObject(field, isObject(current) ? current : {}, value, at(name)));
    } else fields.set(name, value);
  }
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith(deletePrefix)) {
      const list = name.slice(deletePrefix.length);
      const remaining = listOf(fields.get(list)).filter((item) => !includes(listOf(value), item));
      if (fields.has(list)) fields.set(list, remaining);
    }
    if (name.startsWith(orderPrefix)) {
      const list = name.slice(orderPrefix.length);
      const field = fieldOf(structure, list);
      // The order alone, without the list itself: nothing changed but places.
      if (!(list in patch) && fields.has(list) && field.type === "list") {
        const items = listOf(fields.get(list));
        fields.set(list, ordered(field, items, listOf(value), items));
      }
    }
  }
  return Object.fromEntries(fields);
}

function mergeList(
  structure: Structure,
  current: unknown,
  patch: readonly unknown[],
  order: unknown,
  path: string,
): unknown[] {
  if (structure.type !== "list" || structure.patch === "replace") return patch.map(withoutMarks);
  const before = listOf(current);
  const { patchKey } = structure;
  if (patchKey === undefined) {
    const merged = [...before, ...patch].filter(
      (item, index, all) => all.findIndex((other) => sameValue(other, item)) === index,
    );
    return ordered(structure, merged, order === undefined ? patch : listOf(order), before);
  }
  const items = patch.map((item, index) => {
    if (!isObject(item)) throw new PatchProblem(`${path}[${index}]`, "must be an object");
    return item;
  });
  if (items.some((item) => item["$patch"] === "replace" && !(patchKey in item)))
    return items.filter((item) => item["$patch"] !== "replace").map(withoutDirectives);

  let merged: unknown[] = [...before];
  for (const [index, item] of items.entries()) {
    const key = item[patchKey];
    if (key === undefined) {
      throw new PatchProblem(
        `${path}[${index}].${patchKey}`,
        "is required: it says which item is meant",
      );
    }
    const same = (other: unknown) => isObject(other) && sameValue(other[patchKey], key);
    if (item["$patch"] === "delete") {
      merged = merged.filter((other) => !same(other));
      continue;
    }
    const itemPath = `${path}[${String(key)}]`;
    if (!merged.some(same)) merged.push(mergeObject(structure.item, {}, item, itemPath));
    else {
      merged = merged.map((other) =>
        same(other) && isObject(other) ? mergeObject(structure.item, other, item, itemPath) : other,
      );
    }
  }
  const wanted =
    order === undefined ? items.filter((item) => item["$patch"] !== "delete") : listOf(order);
  return ordered(structure, merged, wanted, before);
}

/**
 * Items that the patch names stand in its order, the others in theirs; where both had a place
 * before, the earlier comes first (`normalizeElementOrder` and `mergeSortedSlice`).
 */
function ordered(
  structure: ListStructure,
  items: readonly unknown[],
  patchOrder: readonly unknown[],
  before: readonly unknown[],
): unknown[] {
  const placeIn = (list: readonly unknown[], item: unknown) =>
    list.findIndex((other) => sameValue(identity(structure, other), identity(structure, item)));
  const named = items
    .filter((item) => placeIn(patchOrder, item) >= 0)
    .sort((a, b) => placeIn(patchOrder, a) - placeIn(patchOrder, b));
  const others = items.filter((item) => placeIn(patchOrder, item) < 0);
  const result: unknown[] = [];
  let next = 0;
  for (const item of named) {
    for (; next < others.length; next++) {
      const [other, mine] = [placeIn(before, others[next]), placeIn(before, item)];
      if (other < 0 || mine < 0 || other > mine) break;
      result.push(others[next]);
    }
    result.push(item);
  }
  return [...result, ...others.slice(next)];
}

function identity(structure: ListStructure, item: unknown): unknown {
  return structure.patchKey !== undefined && isObject(item) ? item[structure.patchKey] : item;
}

function retain(fields: Map<string, unknown>, patch: JsonObject, path: string): void {
  const names = patch["$retainKeys"];
  if (names === undefined) return;
  const kept = listOf(names);
  for (const name of Object.keys(patch)) {
    if (!name.startsWith("$") && patch[name] !== null && !kept.includes(name)) {
      throw new PatchProblem(
        path === "" ? name : `${path}.${name}`,
        "is set by the patch but missing in its $retainKeys",
      );
    }
  }
  for (const name of fields.keys()) if (!kept.includes(name)) fields.delete(name);
}

function fieldOf(structure: Structure, name: string): Structure {
  if (structure.type === "object") return structure.fields.get(name) ?? anything;
  return structure.type === "map" ? structure.value : anything;
}

/** A patch value that meets nothing: its directives and nulls mean nothing there. */
function withoutMarks(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMarks);
  return isObject(value) ? withoutDirectives(value) : value;
}

function withoutDirectives(value: JsonObject): JsonObject {
  const entries = Object.entries(value)
    .filter(([name, field]) => !name.startsWith("$") && field !== null)
    .map(([name, field]) => [name, withoutMarks(field)]);
  return Object.fromEntries(entries);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function includes(list: readonly unknown[], item: unknown): boolean {
  return list.some((other) => sameValue(other, item));
}

function unknownDirective(directive: unknown, path: string): PatchProblem {
  return new PatchProblem(
    path === "" ? "$patch" : `${path}.$patch`,
    `${JSON.stringify(directive)} is not one of replace, delete, merge`,
  );
}

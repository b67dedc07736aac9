/**
 * Values seen through their structure, as server-side apply sees them: which fields a value has,
 * what changed between two, what a merge of two is, and a value without some of its fields.
 */
import { sameValue, stable, type Structure } from "../../api/index.ts";
import { isObject, PatchProblem } from "../patch/values.ts";
import { fieldSet, noFields, ownField, type FieldSet } from "./field-set.ts";

type ListStructure = Extract<Structure, { type: "list" }>;

/** Children of a value by element, or undefined when it is one value to apply (a leaf). */
function elementsOf(
  structure: Structure,
  value: unknown,
  path = "",
): Map<string, { structure: Structure; value: unknown }> | undefined {
  if (structure.type === "object" && isObject(value)) {
    return new Map(
      Object.entries(value).map(([name, field]) => [
        `f:${name}`,
        { structure: structure.fields.get(name) ?? { type: "any" }, value: field },
      ]),
    );
  }
  if (structure.type === "map" && isObject(value)) {
    return new Map(
      Object.entries(value).map(([name, field]) => [
        `f:${name}`,
        { structure: structure.value, value: field },
      ]),
    );
  }
  if (structure.type === "list" && structure.apply !== "atomic" && Array.isArray(value)) {
    const elements = new Map<string, { structure: Structure; value: unknown }>();
    for (const [index, item] of value.entries()) {
      const element = elementOf(structure, item, `${path}[${index}]`);
      if (elements.has(element))
        throw new PatchProblem(`${path}[${index}]`, `${element.slice(2)} is there already`);
      elements.set(element, { structure: structure.item, value: item });
    }
    return elements;
  }
  return undefined;
}

function elementOf(structure: ListStructure, item: unknown, path: string): string {
  if (structure.apply === "set") return `v:${JSON.stringify(item)}`;
  if (!isObject(item)) throw new PatchProblem(path, "must be an object");
  const keys = structure.keys.map((key): [string, unknown] => {
    const value = item[key] ?? defaultOf(structure.item, key);
    if (value === undefined)
      throw new PatchProblem(`${path}.${key}`, "is required: it tells the item apart");
    return [key, value];
  });
  return `k:${stable(Object.fromEntries(keys))}`;
}

function defaultOf(item: Structure, key: string): unknown {
  const field = item.type === "object" ? item.fields.get(key) : undefined;
  return field?.type === "scalar" ? field.default : undefined;
}

/**
 * The fields that a value has. Items of keyed lists and sets are members themselves; so is every
 * leaf, an empty object and an empty list included.
 */
export function fieldsOf(structure: Structure, value: unknown, path = ""): FieldSet {
  const elements = elementsOf(structure, value, path);
  if (!elements || elements.size === 0) return ownField;
  const children = [...elements].map(([element, child]) => {
    const below = fieldsOf(child.structure, child.value, pathBelow(path, element));
    return [element, element.startsWith("f:") ? below : { ...below, own: true }] as const;
  });
  return fieldSet(false, children);
}

function pathBelow(path: string, element: string): string {
  const name = element.slice(2);
  if (!element.startsWith("f:")) return `${path}[${name}]`;
  return path === "" ? name : `${path}.${name}`;
}

export type Changes = { readonly changed: FieldSet; readonly removed: FieldSet };

/** Leaves that are new or have another value, and those that are gone. */
export function compare(structure: Structure, before: unknown, after: unknown): Changes {
  if (before === undefined && after === undefined) return { changed: noFields, removed: noFields };
  if (before === undefined) return { changed: fieldsOf(structure, after), removed: noFields };
  if (after === undefined) return { changed: noFields, removed: fieldsOf(structure, before) };
  const [was, is] = [elementsOf(structure, before), elementsOf(structure, after)];
  if (!was || !is || was.size === 0 || is.size === 0) {
    if (sameValue(before, after)) return { changed: noFields, removed: noFields };
    return {
      changed: fieldsOf(structure, after),
      removed: fieldsOf(structure, before),
    };
  }
  const changed: [string, FieldSet][] = [];
  const removed: [string, FieldSet][] = [];
  for (const element of new Set([...was.keys(), ...is.keys()])) {
    const [old, next] = [was.get(element), is.get(element)];
    const inner = (old ?? next)?.structure ?? { type: "any" };
    const below = compare(inner, old?.value, next?.value);
    const item = !element.startsWith("f:");
    changed.push([element, item && !old ? { ...below.changed, own: true } : below.changed]);
    removed.push([element, item && !next ? { ...below.removed, own: true } : below.removed]);
  }
  return { changed: fieldSet(false, changed), removed: fieldSet(false, removed) };
}

/** `config` over `live`: keyed items merge, sets unite, leaves are replaced. */
export function merge(structure: Structure, live: unknown, config: unknown): unknown {
  const [mine, theirs] = [elementsOf(structure, config), elementsOf(structure, live)];
  if (!mine || !theirs) return structuredClone(config);
  const merged = new Map([...theirs].map(([element, child]) => [element, child.value]));
  for (const [element, child] of mine) {
    const other = theirs.get(element);
    merged.set(
      element,
      other ? merge(child.structure, other.value, child.value) : structuredClone(child.value),
    );
  }
  return assembled(structure, inOrder(merged, [...mine.keys()], [...theirs.keys()]));
}

/** In the order of `config`; what only the live object has stays before what follows it there. */
function inOrder(
  merged: ReadonlyMap<string, unknown>,
  mine: readonly string[],
  theirs: readonly string[],
): Map<string, unknown> {
  const shared = new Set(mine);
  const result = new Map<string, unknown>();
  const take = (element: string) => result.set(element, merged.get(element));
  let next = 0;
  const takeTheirs = () => {
    for (; next < theirs.length; next++) {
      const element = theirs[next] ?? "";
      if (!shared.has(element)) take(element);
      else if (!result.has(element)) return;
    }
  };
  for (const element of mine) {
    takeTheirs();
    take(element);
  }
  takeTheirs();
  return result;
}

function assembled(structure: Structure, elements: ReadonlyMap<string, unknown>): unknown {
  if (structure.type === "list") return [...elements.values()];
  return Object.fromEntries([...elements].map(([element, value]) => [element.slice(2), value]));
}

/**
 * `value` without the members of `fields`. What they leave empty behind goes as well, unless it is a
 * member of `wanted` itself: somebody asked for it to be there, empty.
 */
export function without(
  structure: Structure,
  value: unknown,
  fields: FieldSet,
  wanted: FieldSet,
): unknown {
  const elements = elementsOf(structure, value);
  if (!elements) return fields.own ? undefined : value;
  const kept = new Map<string, unknown>();
  for (const [element, child] of elements) {
    const gone = fields.children.get(element);
    if (!gone) kept.set(element, child.value);
    else if (element.startsWith("f:") || !gone.own) {
      const below = wanted.children.get(element) ?? noFields;
      const rest = without(child.structure, child.value, gone, below);
      if (rest !== undefined) kept.set(element, withKeys(structure, rest, child.value));
    }
  }
  return kept.size === 0 && (elements.size > 0 || fields.own) && !wanted.own
    ? undefined
    : assembled(structure, kept);
}

/** An item that stays keeps the fields that name it, whoever lost them. */
function withKeys(structure: Structure, rest: unknown, whole: unknown): unknown {
  if (structure.type !== "list" || !isObject(rest) || !isObject(whole)) return rest;
  const keys = structure.keys.filter((key) => key in whole).map((key) => [key, whole[key]]);
  return { ...Object.fromEntries(keys), ...rest };
}

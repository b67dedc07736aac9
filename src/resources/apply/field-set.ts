/**
 * Sets of fields as server-side apply knows them (structured-merge-diff), and their stored form
 * `fieldsV1`: `f:NAME` is a field, `k:{…}` an item of a list by its keys, `v:…` an item of a set. An
 * element with neither children nor "." is in the set itself, as `{}`.
 */

export type FieldSet = {
  /** Whether this element itself is in the set, not only what is below it. */
  readonly own: boolean;
  readonly children: ReadonlyMap<string, FieldSet>;
};

export const noFields: FieldSet = { own: false, children: new Map() };
export const ownField: FieldSet = { own: true, children: new Map() };

export function fieldSet(own: boolean, children: Iterable<readonly [string, FieldSet]>): FieldSet {
  return { own, children: new Map([...children].filter(([, child]) => !isEmpty(child))) };
}

export function isEmpty(set: FieldSet): boolean {
  return !set.own && set.children.size === 0;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const children = new Map(a.children);
  for (const [element, child] of b.children) {
    const mine = children.get(element);
    children.set(element, mine ? union(mine, child) : child);
  }
  return { own: a.own || b.own, children };
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const children = [...a.children].map(
    ([element, child]) =>
      [element, intersection(child, b.children.get(element) ?? noFields)] as const,
  );
  return fieldSet(a.own && b.own, children);
}

/** What is in `a` and not in `b`; being above or below something in `b` does not count. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  const children = [...a.children].map(([element, child]) => {
    const other = b.children.get(element);
    return [element, other ? difference(child, other) : child] as const;
  });
  return fieldSet(a.own && !b.own, children);
}

/** As `difference`, but what stands below a member of `b` goes with it. */
export function recursiveDifference(a: FieldSet, b: FieldSet): FieldSet {
  if (b.own) return noFields;
  const children = [...a.children].map(([element, child]) => {
    const other = b.children.get(element);
    return [element, other ? recursiveDifference(child, other) : child] as const;
  });
  return fieldSet(a.own, children);
}

/** The set with everything above its members: whoever owns a field keeps the item it stands in. */
export function withParents(set: FieldSet): FieldSet {
  const children = [...set.children].map(
    ([element, child]) => [element, withParents(child)] as const,
  );
  return { own: !isEmpty(set), children: new Map(children) };
}

/** One field by its path of names: `fieldAt(["metadata", "uid"])`. */
export function fieldAt(names: readonly string[]): FieldSet {
  return names.reduceRight<FieldSet>(
    (below, name) => fieldSet(false, [[`f:${name}`, below]]),
    ownField,
  );
}

export function sameFields(a: FieldSet, b: FieldSet): boolean {
  if (a.own !== b.own || a.children.size !== b.children.size) return false;
  for (const [element, child] of a.children) {
    const other = b.children.get(element);
    if (!other || !sameFields(child, other)) return false;
  }
  return true;
}

/** Every member as a path of elements. */
export function paths(set: FieldSet, before: readonly string[] = []): string[][] {
  const below = [...set.children].flatMap(([element, child]) => paths(child, [...before, element]));
  return set.own ? [[...before], ...below] : below;
}

/** `.spec.template.spec.containers[name="web"].image`, as kubectl shows conflicts. */
export function pathText(path: readonly string[]): string {
  return path
    .map((element) => {
      const rest = element.slice(2);
      if (element.startsWith("f:")) return `.${rest}`;
      if (element.startsWith("v:")) return `[=${rest}]`;
      const keys = Object.entries(JSON.parse(rest) as Record<string, unknown>);
      return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",")}]`;
    })
    .join("");
}

export function encodeFieldSet(set: FieldSet): Record<string, unknown> {
  const entries = [...set.children].map(([element, child]): [string, Record<string, unknown>] => [
    element,
    encodeElement(child),
  ]);
  return Object.fromEntries(entries);
}

function encodeElement(set: FieldSet): Record<string, unknown> {
  const inner = encodeFieldSet(set);
  return set.own && set.children.size > 0 ? { ".": {}, ...inner } : inner;
}

/** What cannot be read is left out: ownership is lost, never invented. */
export function decodeFieldSet(value: unknown): FieldSet {
  return { ...decodeElement(value), own: false };
}

function decodeElement(value: unknown): FieldSet {
  if (typeof value !== "object" || value === null) return noFields;
  const entries = Object.entries(value);
  if (entries.length === 0) return ownField;
  const children = entries
    .filter(([element]) => element.startsWith("f:") || isItem(element))
    .map(([element, child]) => [element, decodeElement(child)] as const);
  return fieldSet("." in value, children);
}

function isItem(element: string): boolean {
  if (!element.startsWith("k:") && !element.startsWith("v:")) return false;
  try {
    const parsed: unknown = JSON.parse(element.slice(2));
    return element.startsWith("v:") || (typeof parsed === "object" && parsed !== null);
  } catch {
    return false;
  }
}

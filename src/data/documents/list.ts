/**
 * Ordered lists: RGA, the replicated growable array (Roh et al., "Replicated abstract data types",
 * 2011), as Automerge uses it. Chosen over fractional indexes because what two people insert at the
 * same place stays together instead of being interleaved. An element names the one it was put after;
 * its number is above every number that the writer saw in the list, so clocks play no part.
 */
import type { Change, Dot, ElementId } from "./operation.ts";
import type { Element } from "./state.ts";

export const elementId = (n: number, origin: string): ElementId => `${n}@${origin}`;

export const nextNumber = (list: readonly Element[]): number =>
  list.reduce((max, { n }) => Math.max(max, n), 0) + 1;

export type ListChange = Change & { readonly type: "insert" | "delete" };

/** Up to so many elements are looked for one by one; to know where all of them stand takes longer. */
const searchesMax = 4;

/**
 * What one operation changes in a list, in its order. The list is walked once, however many changes
 * these are. Values that are inserted come behind `after`, and behind what others put there that comes
 * before them; a deleted element leaves its place.
 */
export function changeList(
  list: readonly Element[],
  changes: readonly ListChange[],
  dot: Dot,
): readonly Element[] {
  let searches = 0;
  for (const change of changes) searches += change.type === "delete" ? change.ids.length : 1;
  return (searches <= searchesMax ? changeFew : changeMany)(list, changes, dot);
}

const elementsOf = (
  { n: first, values }: ListChange & { readonly type: "insert" },
  { origin, sequence }: Dot,
): Element[] =>
  values.map((value, index) => {
    const n = first + index;
    return { id: elementId(n, origin), n, origin, sequence, value };
  });

function changeFew(
  list: readonly Element[],
  changes: readonly ListChange[],
  dot: Dot,
): readonly Element[] {
  let changed = [...list];
  /** As they stand in `changed`; a name that somebody gave twice is of the last one, as below. */
  const come = new Map<ElementId, Element>();
  const placeOf = (id: ElementId): number => {
    const put = come.get(id);
    return put ? changed.indexOf(put) : changed.findLastIndex((element) => element.id === id);
  };
  for (const change of changes) {
    if (change.type === "delete") {
      for (const id of change.ids) {
        const at = placeOf(id);
        const element = changed[at];
        if (!element) continue;
        changed[at] = { ...element, value: undefined };
        if (come.has(id)) come.set(id, changed[at]);
      }
      continue;
    }
    const elements = elementsOf(change, dot);
    let at = change.after === null ? 0 : placeOf(change.after) + 1;
    const first = { n: change.n, origin: dot.origin };
    for (let next = changed[at]; next && isBefore(next, first); next = changed[at]) at++;
    changed = [...changed.slice(0, at), ...elements, ...changed.slice(at)];
    for (const element of elements) come.set(element.id, element);
  }
  return changed;
}

type Place = { element?: Element; next?: Place };

function changeMany(
  list: readonly Element[],
  changes: readonly ListChange[],
  dot: Dot,
): readonly Element[] {
  const head: Place = {};
  const places = new Map<ElementId, Place>();
  const putBehind = (place: Place, element: Element): Place => {
    const put: Place = { element };
    if (place.next) put.next = place.next;
    place.next = put;
    places.set(element.id, put);
    return put;
  };
  let last = head;
  for (const element of list) last = putBehind(last, element);
  for (const change of changes) {
    if (change.type === "delete") {
      for (const id of change.ids) {
        const place = places.get(id);
        if (place?.element) place.element = { ...place.element, value: undefined };
      }
      continue;
    }
    let place = (change.after === null ? undefined : places.get(change.after)) ?? head;
    const first = { n: change.n, origin: dot.origin };
    while (place.next?.element && isBefore(place.next.element, first)) place = place.next;
    for (const element of elementsOf(change, dot)) place = putBehind(place, element);
  }
  const changed: Element[] = [];
  for (let place = head.next; place?.element; place = place.next) changed.push(place.element);
  return changed;
}

/** Of two that were put at the same place, the higher number comes first; ties break on the origin. */
export const isBefore = (
  a: Pick<Element, "n" | "origin">,
  b: Pick<Element, "n" | "origin">,
): boolean => a.n > b.n || (a.n === b.n && a.origin > b.origin);

/**
 * Ordered lists: RGA, the replicated growable array (Roh et al., "Replicated abstract data types",
 * 2011), as Automerge uses it. Chosen over fractional indexes because what two people insert at the
 * same place stays together instead of being interleaved. An element names the one it was put after;
 * its number is above every number that the writer saw in the list, so clocks play no part.
 */
import type { Dot, ElementId } from "./operation.ts";
import type { Json } from "./json.ts";
import type { Element } from "./state.ts";

export const elementId = (n: number, origin: string): ElementId => `${n}@${origin}`;

export const nextNumber = (list: readonly Element[]): number =>
  list.reduce((max, { n }) => Math.max(max, n), 0) + 1;

/** Puts the values behind `after`, and behind what others put there that comes before them. */
export function insertElements(
  list: readonly Element[],
  change: { after: ElementId | null; n: number; values: readonly Json[] },
  { origin, sequence }: Dot,
): readonly Element[] {
  const elements = change.values.map((value, index): Element => {
    const n = change.n + index;
    return { id: elementId(n, origin), n, origin, sequence, value };
  });
  const [head] = elements;
  if (!head) return list;
  let at = change.after === null ? 0 : list.findIndex(({ id }) => id === change.after) + 1;
  for (let next = list[at]; next && isBefore(next, head); next = list[at]) at++;
  return [...list.slice(0, at), ...elements, ...list.slice(at)];
}

/** Of two that were put at the same place, the higher number comes first; ties break on the origin. */
export const isBefore = (a: Element, b: Element): boolean =>
  a.n > b.n || (a.n === b.n && a.origin > b.origin);

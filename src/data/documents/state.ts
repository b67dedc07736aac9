/**
 * A document as a store keeps it: what each field holds, and by whom and when it was written, as far
 * as a later merge needs to know. A function of the set of operations alone.
 */
import type { Json } from "./json.ts";
import type { Dot, ElementId, Stamp } from "./operation.ts";
import type { TextState } from "./text.ts";

/** The writes of a register that no other write of it knew of; more than one: they are concurrent. */
export type RegisterWrite = Stamp & { readonly value: Json };

/** One origin's share of a counter. What was cleared is a prefix of what that origin counted. */
export type Count = {
  /** How often it counted, and the sum of that. */
  readonly times: number;
  readonly total: number;
  /** Of these, what was cleared. */
  readonly clearedTimes: number;
  readonly cleared: number;
};

export type Member = {
  readonly value: Json;
  /** The latest addition by origin that no removal knew of. */
  readonly sequences: ReadonlyMap<string, number>;
};

/** A deleted element stays as a place to stand after; its value is gone. */
export type Element = Dot & {
  readonly id: ElementId;
  readonly n: number;
  readonly value: Json | undefined;
};

export type Cell = {
  /** Greatest stamp first. */
  registers: readonly RegisterWrite[];
  /** Changed through `ownCounts` and `ownMembers`: most cells are registers and share empty maps. */
  counts: ReadonlyMap<string, Count>;
  /** By the stable text of the value. */
  members: ReadonlyMap<string, Member>;
  /** In the order of the list. */
  list: readonly Element[];
  /** Kept when all of it is deleted: what others write stands between what is there no more. */
  text?: TextState;
};

export type DocumentState = {
  /** Edits that neither a later edit nor a deletion knew of. None: there is no such document. */
  edits: readonly Stamp[];
  /** Deletions that no later edit or deletion knew of. */
  deletions: readonly Stamp[];
  /** By JSON pointer. */
  readonly cells: Map<string, Cell>;
  /** The highest version of the schema that any writer knew. */
  schema: number;
};

export const emptyState = (): DocumentState => ({
  edits: [],
  deletions: [],
  cells: new Map(),
  schema: 0,
});

const nothing: readonly never[] = [];
const noCounts: ReadonlyMap<string, Count> = new Map();
const noMembers: ReadonlyMap<string, Member> = new Map();

export const emptyCell = (registers: readonly RegisterWrite[] = nothing): Cell => ({
  registers,
  counts: noCounts,
  members: noMembers,
  list: nothing,
});

/** To be changed in place. */
export function ownCounts(cell: Cell): Map<string, Count> {
  if (cell.counts === noCounts) cell.counts = new Map();
  return cell.counts as Map<string, Count>;
}

/** To be changed in place. */
export function ownMembers(cell: Cell): Map<string, Member> {
  if (cell.members === noMembers) cell.members = new Map();
  return cell.members as Map<string, Member>;
}

export const isAlive = (state: DocumentState): boolean => state.edits.length > 0;

/** Greatest first: the one that is shown among concurrent writes. Ties break on the origin. */
export const byStamp = (a: Stamp, b: Stamp): number =>
  b.hlc - a.hlc || (a.origin < b.origin ? 1 : a.origin > b.origin ? -1 : b.sequence - a.sequence);

export const isCounted = (cell: Cell): boolean =>
  cell.counts.size > 0 &&
  cell.counts.values().some(({ times, clearedTimes }) => times > clearedTimes);

/** Where sums end: what is past it JSON, and so a row and a log, cannot hold. */
export const countMax = Number.MAX_VALUE;

/** Several may count past the end who did not know of each other: the sum stays there. */
export const saturated = (sum: number): number => Math.max(-countMax, Math.min(countMax, sum));

/** Once more, by this. */
export const counted = (before: Count | undefined, by: number): Count => ({
  times: (before?.times ?? 0) + 1,
  total: saturated((before?.total ?? 0) + by),
  clearedTimes: before?.clearedTimes ?? 0,
  cleared: before?.cleared ?? 0,
});

/** In the order of origins: sums of fractions, and of what is past the end, depend on it. */
export function countOf(cell: Cell): number {
  let sum = 0;
  for (const [, { total, cleared }] of [...cell.counts].sort(([a], [b]) => (a < b ? -1 : 1)))
    sum = saturated(sum + saturated(total - cleared));
  return sum;
}

export const livingOf = (cell: Cell): readonly (Element & { readonly value: Json })[] =>
  cell.list.length === 0
    ? nothing
    : cell.list.filter(
        (element): element is Element & { readonly value: Json } => element.value !== undefined,
      );

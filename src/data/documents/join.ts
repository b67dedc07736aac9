/**
 * Two states of one document as one: what a store would hold that had applied all that either has.
 * Neither keeps what was replaced, so a write that only one of them has was replaced there when the
 * other's positions cover it, and is news when they do not (Almeida et al., "Delta state replicated
 * data types", 2018: a causal context beside the dots).
 */
import { isBefore } from "./list.ts";
import type { Dot, Stamp } from "./operation.ts";
import {
  byStamp,
  emptyCell,
  ownCounts,
  ownMembers,
  type Cell,
  type Count,
  type DocumentState,
  type Element,
  type Member,
} from "./state.ts";
import { joinTexts } from "./text.ts";

export type Side = {
  readonly state: DocumentState;
  /** Whether this side has applied the operation, and heard what it says of the field, if of one. */
  readonly covers: (dot: Dot, path?: string) => boolean;
};

/** Leaves both as they are. */
export function joinStates(ours: Side, theirs: Side): DocumentState {
  const cells = new Map<string, Cell>();
  for (const path of new Set([...ours.state.cells.keys(), ...theirs.state.cells.keys()])) {
    const cell = joinCells(ours, theirs, path);
    const held = cell.registers.length + cell.counts.size + cell.members.size + cell.list.length;
    if (held > 0 || cell.text) cells.set(path, cell);
  }
  return {
    edits: joinStamps(ours, theirs, ({ edits }) => edits),
    deletions: joinStamps(ours, theirs, ({ deletions }) => deletions),
    cells,
    schema: Math.max(ours.state.schema, theirs.state.schema),
  };
}

const noCell = emptyCell();

function joinCells(ours: Side, theirs: Side, path: string): Cell {
  const of = ({ cells }: DocumentState) => cells.get(path) ?? noCell;
  const [a, b] = [of(ours.state), of(theirs.state)];
  const cell = emptyCell(joinStamps(ours, theirs, (state) => of(state).registers, path));
  for (const origin of new Set([...a.counts.keys(), ...b.counts.keys()]))
    ownCounts(cell).set(origin, joinCounts(a.counts.get(origin), b.counts.get(origin)));
  for (const key of new Set([...a.members.keys(), ...b.members.keys()])) {
    const member = joinMembers(ours, theirs, [a.members.get(key), b.members.get(key)], path);
    if (member) ownMembers(cell).set(key, member);
  }
  cell.list = joinLists(a.list, b.list);
  const text = b.text ? joinTexts(a.text, b.text) : a.text;
  if (text) cell.text = text;
  return cell;
}

function joinStamps<T extends Stamp>(
  ours: Side,
  theirs: Side,
  of: (state: DocumentState) => readonly T[],
  path?: string,
): readonly T[] {
  const [a, b] = [of(ours.state), of(theirs.state)];
  const kept = [
    ...a.filter((dot) => !theirs.covers(dot, path) || b.some((other) => isSame(dot, other))),
    ...b.filter((dot) => !ours.covers(dot, path)),
  ];
  return kept.length > 1 ? kept.sort(byStamp) : kept;
}

const isSame = (a: Dot, b: Dot) => a.sequence === b.sequence && a.origin === b.origin;

/** An origin's own counting only grows, and so does what was cleared of it. */
function joinCounts(a: Count | undefined, b: Count | undefined): Count {
  const none: Count = { times: 0, total: 0, clearedTimes: 0, cleared: 0 };
  const [one = none, other = none] = [a, b];
  const { times, total } = one.times >= other.times ? one : other;
  const { clearedTimes, cleared } = one.clearedTimes >= other.clearedTimes ? one : other;
  return { times, total, clearedTimes, cleared };
}

function joinMembers(
  ours: Side,
  theirs: Side,
  [a, b]: readonly [Member | undefined, Member | undefined],
  path: string,
): Member | undefined {
  const sequences = new Map<string, number>();
  const keep = (
    from: Member | undefined,
    other: { side: Side; member: Member | undefined },
  ): void => {
    for (const [origin, sequence] of from?.sequences ?? []) {
      const isShared = other.member?.sequences.get(origin) === sequence;
      if (isShared || !other.side.covers({ origin, sequence }, path))
        sequences.set(origin, sequence);
    }
  };
  keep(a, { side: theirs, member: b });
  keep(b, { side: ours, member: a });
  const known = a ?? b;
  return known && sequences.size > 0 ? { value: known.value, sequences } : undefined;
}

/**
 * A list is its tree of "put after" in preorder, siblings with the higher number first, and an element
 * has a higher number than the one it was put after. So the list itself says what each was put after:
 * the nearest one before it with a lower number.
 */
function joinLists(a: readonly Element[], b: readonly Element[]): readonly Element[] {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const byId = new Map(a.map((element) => [element.id, element]));
  /** First to last is lowest to highest: the last is taken first. */
  const behind = new Map<string | undefined, Element[]>();
  const place = (list: readonly Element[], isKnown: (element: Element) => boolean) => {
    const open: Element[] = [];
    for (const element of list) {
      for (let last = open.at(-1); last && isBefore(last, element); last = open.at(-1)) open.pop();
      if (!isKnown(element)) {
        const after = open.at(-1)?.id;
        const siblings = behind.get(after);
        if (siblings) siblings.push(element);
        else behind.set(after, [element]);
      }
      open.push(element);
    }
  };
  place(a, () => false);
  const there = new Set(byId.keys());
  place(b, ({ id }) => there.has(id));
  for (const element of b)
    if (!byId.has(element.id) || element.value === undefined) byId.set(element.id, element);
  for (const siblings of behind.values())
    siblings.sort((one, other) => (isBefore(one, other) ? 1 : -1));
  const joined: Element[] = [];
  const next = [...(behind.get(undefined) ?? [])];
  for (let element = next.pop(); element; element = next.pop()) {
    joined.push(byId.get(element.id) ?? element);
    next.push(...(behind.get(element.id) ?? []));
  }
  return joined;
}

/**
 * The merge rules. Operations are applied in causal order (`engine.ts` sees to that), so everything
 * that an operation knew of is here when it comes; what is here and it did not know of is concurrent
 * to it. One rule does most of it: a change clears what it knew of, and leaves what it did not.
 */
import { stable } from "../../lib/stable.ts";
import { createByPath } from "./by-path.ts";
import { cellAt, cellsWithin } from "./cells.ts";
import { changeList, type ListChange } from "./list.ts";
import { knownChanges, type Change, type Dot, type Stamp, type Write } from "./operation.ts";
import { ancestorsOf } from "./pointer.ts";
import {
  byStamp,
  counted,
  ownCounts,
  ownMembers,
  saturated,
  type Cell,
  type DocumentState,
  type Member,
} from "./state.ts";
import { joinTexts, textState } from "./text.ts";

export type Context = Stamp & {
  /** Whether the writer had applied this operation, or it is this one itself. */
  covers(dot: Dot): boolean;
};

/** Changes `state`. False when it holds a change that this version does not know, and left out. */
export function applyWrite(state: DocumentState, write: Write, context: Context): boolean {
  const stamp: Stamp = { origin: context.origin, sequence: context.sequence, hlc: context.hlc };
  state.edits = unknownTo(context, state.edits);
  state.deletions = unknownTo(context, state.deletions);
  state.schema = Math.max(state.schema, write.schema ?? 0);
  if (write.verb === "delete") {
    // What it held stays: an edit that did not know of the deletion brings back all of it.
    state.deletions = withOne(state.deletions, stamp);
    return true;
  }
  state.edits = withOne(state.edits, stamp);
  let known = true;
  let waiting: WaitingLists | undefined;
  for (const change of write.changes) {
    if (change.type === "insert" || change.type === "delete") {
      waiting ??= createWaitingLists(state, context);
      waiting.add(change);
    } else if (knownChanges.has(change.type)) {
      if (change.type === "set" || change.type === "remove") waiting?.applyWithin(change.path);
      applyChange(state, change, context);
    } else known = false;
  }
  waiting?.applyWithin("");
  return known;
}

type WaitingLists = ReturnType<typeof createWaitingLists>;

/**
 * To change a list takes as long as it is large, so changes of one wait for each other. They are of its
 * elements, which no other change looks at but one that clears them; the plain values that they take
 * the place of go at once.
 */
function createWaitingLists(state: DocumentState, context: Context) {
  const waiting = createByPath<ListChange[]>();
  return {
    add(change: ListChange) {
      const { path } = change;
      if (change.type === "insert") clearRegisters(state, [...ancestorsOf(path), path], context);
      const changes = waiting.get(path);
      if (changes) changes.push(change);
      else waiting.set(path, [change]);
    },
    applyWithin(path: string) {
      for (const at of waiting.within(path)) {
        applyToList(state, waiting.get(at) ?? [], context);
        waiting.delete(at);
      }
    },
  };
}

/** Of one list. */
export function applyToList(
  state: DocumentState,
  changes: readonly ListChange[],
  context: Context,
): void {
  const path = changes[0]?.path ?? "";
  const isInserted = changes.some(({ type }) => type === "insert");
  const cell = isInserted ? typedCell(state, path, context) : state.cells.get(path);
  if (cell) cell.list = changeList(cell.list, changes, context);
}

/** Greatest first. */
const withOne = <T extends Stamp>(stamps: readonly T[], one: T): readonly T[] =>
  stamps.length === 0 ? [one] : [...stamps, one].sort(byStamp);

const unknownTo = <T extends Dot>({ covers }: Context, dots: readonly T[]): readonly T[] =>
  dots.length === 0 ? dots : dots.filter((dot) => !covers(dot));

export function applyChange(state: DocumentState, change: Change, context: Context): void {
  switch (change.type) {
    case "set": {
      clearWithin(state, change, context);
      clearRegisters(state, ancestorsOf(change.path), context);
      const { origin, sequence, hlc } = context;
      const cell = cellAt(state.cells, change.path);
      cell.registers = withOne(cell.registers, { origin, sequence, hlc, value: change.value });
      return;
    }
    case "remove":
      return clearWithin(state, change, context);
    case "count": {
      const counts = ownCounts(typedCell(state, change.path, context));
      counts.set(context.origin, counted(counts.get(context.origin), change.by));
      return;
    }
    case "add": {
      const members = ownMembers(typedCell(state, change.path, context));
      const key = stable(change.value);
      const sequences = uncovered(members.get(key)?.sequences, context);
      sequences.set(context.origin, context.sequence);
      members.set(key, { value: change.value, sequences });
      return;
    }
    case "discard": {
      const cell = state.cells.get(change.path);
      const key = stable(change.value);
      const member = cell?.members.get(key);
      if (cell && member) keepMember(cell, key, member, context);
      return prune(state, change.path);
    }
    case "insert":
    case "delete":
      return applyToList(state, [change], context);
    case "text": {
      const cell = typedCell(state, change.path, context);
      cell.text = joinTexts(cell.text, textState(change.update));
    }
  }
}

/** For a change of another type than a register: the registers that it knew of make room for it. */
function typedCell(state: DocumentState, path: string, context: Context): Cell {
  clearRegisters(state, [...ancestorsOf(path), path], context);
  return cellAt(state.cells, path);
}

function clearRegisters(state: DocumentState, paths: readonly string[], context: Context): void {
  for (const path of paths) {
    const cell = state.cells.get(path);
    if (!cell || cell.registers.length === 0) continue;
    cell.registers = unknownTo(context, cell.registers);
    prune(state, path);
  }
}

function clearWithin(
  state: DocumentState,
  change: Change & { type: "set" | "remove" },
  context: Context,
): void {
  for (const [path, cell] of cellsWithin(state.cells, change.path)) {
    cell.registers = unknownTo(context, cell.registers);
    for (const [key, member] of cell.members) keepMember(cell, key, member, context);
    if (cell.list.some((element) => element.value !== undefined && context.covers(element)))
      cell.list = cell.list.map((element) =>
        context.covers(element) ? { ...element, value: undefined } : element,
      );
    prune(state, path);
  }
  for (const [path, byOrigin] of Object.entries(change.counts ?? {})) {
    const cell = state.cells.get(path);
    for (const [origin, [times, total]] of Object.entries(byOrigin)) {
      const count = cell?.counts.get(origin);
      if (cell && count && times > count.clearedTimes)
        ownCounts(cell).set(origin, {
          ...count,
          clearedTimes: times,
          cleared: saturated(total),
        });
    }
  }
}

function keepMember(cell: Cell, key: string, { value, sequences }: Member, context: Context): void {
  const kept = uncovered(sequences, context);
  if (kept.size === 0) ownMembers(cell).delete(key);
  else ownMembers(cell).set(key, { value, sequences: kept });
}

const uncovered = (
  sequences: ReadonlyMap<string, number> | undefined,
  context: Context,
): Map<string, number> =>
  new Map(
    [...(sequences ?? [])].filter(([origin, sequence]) => !context.covers({ origin, sequence })),
  );

function prune(state: DocumentState, path: string): void {
  const cell = state.cells.get(path);
  if (!cell || cell.registers.length + cell.counts.size + cell.members.size > 0) return;
  if (cell.list.length === 0 && !cell.text) state.cells.delete(path);
}

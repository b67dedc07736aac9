/**
 * From what a client wants to what stands in the log. Each change is made against the state as this
 * store has it, in the transaction that stores it, and applied at once so that the next one sees it.
 * A whole body (`PUT`) or a merge patch becomes the difference to what is there: fields that stay
 * the same are not written, so the same request again writes nothing.
 */
import type { FieldChange, TextDelta } from "../../api/records/index.ts";
import { stable } from "../../lib/stable.ts";
import { showAt, type MadeOfMany } from "./body.ts";
import { cellsWithin } from "./cells.ts";
import { isObject, same, valueAt, type Json } from "./json.ts";
import { elementId, nextNumber, type ListChange } from "./list.ts";
import { applyChange, applyToList, type Context } from "./merge.ts";
import type { Change, ObservedCounts } from "./operation.ts";
import { isWithin, join, namesOf } from "./pointer.ts";
import {
  counted,
  countOf,
  emptyCell,
  isCounted,
  livingOf,
  saturated,
  type Cell,
  type DocumentState,
} from "./state.ts";
import { beginText, deltaBetween, editText, lengthOf, textOf } from "./text.ts";

/** How a field merges. `register`: the last write holds; everything that is not declared is one. */
export type MergeType = "register" | "counter" | "set" | "list" | "text";

/** As clients ask for it. */
export type ListStep = DistributiveOmit<FieldChange & { change: "insert" | "delete" }, "path">;
type DistributiveOmit<T, Name extends string> = T extends unknown ? Omit<T, Name> : never;

export interface Editor {
  readonly changes: readonly Change[];
  /** Clears all that it holds, for a new document in the place of a deleted one. */
  clear(): void;
  /** Makes the document, or the value at a path of it, this; `current` is what is there, if known. */
  become(target: Json | undefined, path?: string, current?: Json): void;
  /** A write there settles what is in conflict, for what is shown as well. */
  isContested(path: string): boolean;
  increment(path: string, by: number): void;
  add(path: string, value: Json): void;
  discard(path: string, value: Json): void;
  /** One after the other; `index` counts from 0, and past the end, or without one, is the end. */
  changeList(path: string, steps: readonly ListStep[]): void;
  /** Of a text; what reaches past its end is cut there. */
  edit(path: string, ...deltas: readonly TextDelta[]): void;
}

export function createEditor(
  state: DocumentState,
  context: Context,
  typeAt: (path: string) => MergeType,
  /** Paths of conflicts that who asks has seen, or could. */
  conflicts: Iterable<string> = [],
): Editor {
  const changes: Change[] = [];
  const contested = new Set(conflicts);
  const make = (change: Change) => {
    changes.push(change);
    applyChange(state, change, context);
  };
  const cellAt = (path: string) => state.cells.get(path);

  const observedCounts = (path: string): { counts?: ObservedCounts } => {
    const seen = cellsWithin(state.cells, path).filter(([, cell]) => isCounted(cell));
    if (seen.length === 0) return {};
    return {
      counts: Object.fromEntries(seen.map(([at, cell]) => [at, observedOf(cell)])),
    };
  };
  /** What a clearing saw of texts goes by a change of their own: they do not say who wrote what. */
  const emptyTexts = (path: string) => {
    for (const [at, { text }] of cellsWithin(state.cells, path))
      if (text) makeText(at, [[{ delete: lengthOf(text) }]]);
  };
  const set = (path: string, value: Json) => {
    emptyTexts(path);
    make({ type: "set", path, value, ...observedCounts(path) });
  };
  const remove = (path: string) => {
    emptyTexts(path);
    make({ type: "remove", path, ...observedCounts(path) });
  };
  /** Of a counter alone, which no change is for: a removal below it, of a name that is not there. */
  const clearCounts = (path: string, counts: ObservedCounts[string]) =>
    make({ type: "remove", path: join(path, ""), counts: { [path]: counts } });
  /** What is there of another kind, and that this store knows, a write of one kind replaces (M2). */
  const makeRoom = (path: string, type: MadeOfMany) => {
    const within = cellsWithin(state.cells, path);
    const cell = cellAt(path);
    const isMap = within.length > (cell ? 1 : 0) && isObject(showAt(state, path));
    if (!isMap && !(cell && holdsOther(cell, type))) return;
    if (!cell || !beginsAs(cell, type)) return remove(path);
    if (isMap) removeFields(path, within);
    removeOthers(path, cell, type);
  };
  const removeFields = (path: string, within: ReturnType<typeof cellsWithin>) => {
    const depth = namesOf(path).length;
    const names = within.flatMap(([at]) => namesOf(at).slice(depth, depth + 1));
    for (const name of new Set(names)) remove(join(path, name));
  };
  /**
   * Each by itself, so that the field's own values stay what they are: written anew they would be there
   * twice where two writers do this at a time.
   */
  const removeOthers = (path: string, cell: Cell, type: MadeOfMany) => {
    const living = type === "list" ? [] : livingOf(cell);
    if (living.length > 0) make({ type: "delete", path, ids: living.map(({ id }) => id) });
    const members = type === "set" ? [] : [...cell.members.values()];
    for (const { value } of members) make({ type: "discard", path, value });
    if (type !== "text" && lengthOf(cell.text) > 0)
      makeText(path, [[{ delete: lengthOf(cell.text) }]]);
    if (type !== "counter" && isCounted(cell)) clearCounts(path, observedOf(cell));
  };
  const makeText = (path: string, deltas: readonly TextDelta[]) => {
    const update = editText(cellAt(path)?.text, context.origin, ...deltas);
    if (update) make({ type: "text", path, update: textOf(update) });
  };
  const edit = (path: string, ...deltas: readonly TextDelta[]) => {
    makeRoom(path, "text");
    const cell = cellAt(path);
    const first = cell?.registers[0];
    // A string that was a plain value before the field became a text is where it begins.
    if (first && typeof first.value === "string" && first.value !== "" && !lengthOf(cell.text)) {
      const author = `${first.origin}/${first.sequence}${path}`;
      make({ type: "text", path, update: textOf(beginText(author, first.value)) });
    }
    makeText(path, deltas);
  };
  const becomeText = (path: string, current: Json | undefined, target: string) => {
    if (target === "") return set(path, "");
    if (current !== undefined && typeof current !== "string") remove(path);
    edit(path, deltaBetween(typeof current === "string" ? current : "", target));
  };

  const livingAt = (path: string) => {
    const cell = cellAt(path);
    return cell ? livingOf(cell) : [];
  };
  const changeList = (path: string, steps: readonly ListStep[]) => {
    if (steps.some(({ change }) => change === "insert")) makeRoom(path, "list");
    const ids = livingAt(path).map(({ id }) => id);
    let n = nextNumber(cellAt(path)?.list ?? []);
    const made: ListChange[] = [];
    for (const step of steps) {
      if (step.change === "delete") {
        const gone = ids.splice(step.index, step.count ?? 1);
        if (gone.length > 0) made.push({ type: "delete", path, ids: gone });
        continue;
      }
      const { index = ids.length, values } = step;
      made.push({
        type: "insert",
        path,
        after: ids[Math.min(index, ids.length) - 1] ?? null,
        n,
        values,
      });
      ids.splice(index, 0, ...values.map((_, at) => elementId(n + at, context.origin)));
      n += values.length;
    }
    if (made.length === 0) return;
    changes.push(...made);
    applyToList(state, made, context);
  };

  /** What the counter would be then: not always the sum, for fractions and at the ends of numbers. */
  const countWith = (path: string, by: number): number => {
    const cell = cellAt(path) ?? emptyCell();
    const counts = new Map(cell.counts);
    counts.set(context.origin, counted(counts.get(context.origin), by));
    return countOf({ ...cell, counts });
  };
  /**
   * Beside a total of which much was cleared, what is counted now may be lost: then the total is taken
   * back, and what was left of it counted once more. Shares of others are left alone, so what they count
   * at the same time stays; a clearing of theirs finds this share gone, and does not take the new one.
   */
  const count = (path: string, by: number) => {
    const own = cellAt(path)?.counts.get(context.origin);
    const left = own ? saturated(own.total - own.cleared) : 0;
    const sum = saturated(left + by);
    if (!own || saturated(saturated(own.total + by) - own.cleared) === sum)
      return make({ type: "count", path, by });
    make({ type: "count", path, by: -own.total });
    clearCounts(path, { [context.origin]: [own.times + 1, 0] });
    make({ type: "count", path, by: sum });
  };
  const becomeCounter = (path: string, current: Json | undefined, target: number) => {
    const cell = cellAt(path);
    if (cell && isCounted(cell)) {
      if (typeof current !== "number") makeRoom(path, "counter");
      const by = target - countOf(cell);
      if (by === 0) return;
      if (countWith(path, by) === target) return make({ type: "count", path, by });
    }
    if (current !== undefined) remove(path);
    count(path, target);
  };

  const becomeSet = (path: string, current: Json | undefined, target: readonly Json[]) => {
    if (target.length === 0) return set(path, []);
    if (isObject(current) || livingAt(path).length > 0) remove(path);
    const wanted = new Map(target.map((value) => [stable(value), value]));
    const members = new Map(cellAt(path)?.members);
    for (const [key, { value }] of members)
      if (!wanted.has(key)) make({ type: "discard", path, value });
    for (const [key, value] of wanted) if (!members.has(key)) make({ type: "add", path, value });
  };

  const becomeList = (path: string, current: Json | undefined, target: readonly Json[]) => {
    if (target.length === 0) return set(path, []);
    if (isObject(current)) makeRoom(path, "list");
    if (current !== undefined && livingAt(path).length === 0) remove(path);
    const living = livingAt(path);
    const kept = commonOf(
      living.map(({ value }) => stable(value)),
      target.map((value) => stable(value)),
    );
    const gone = living.filter((_, index) => !kept.has(index)).map(({ id }) => id);
    if (gone.length > 0) make({ type: "delete", path, ids: gone });
    const isKept = new Set(kept.values());
    const come: ListStep[] = [];
    for (let at = 0; at < target.length; at++) {
      if (isKept.has(at)) continue;
      let end = at;
      while (end < target.length && !isKept.has(end)) end++;
      come.push({ change: "insert", index: at, values: target.slice(at, end) });
      at = end - 1;
    }
    if (come.length > 0) changeList(path, come);
  };

  const contestedWithin = (path: string) => [...contested].filter((at) => isWithin(at, path));
  const settle = (path: string, target: Json | undefined): void => {
    for (const at of contestedWithin(path)) contested.delete(at);
    // A plain value replaces all that there is; anything else is written into an empty place.
    if (target !== undefined && !isObject(target) && typeAt(path) === "register")
      return set(path, target);
    remove(path);
    become(path, undefined, target);
  };
  const become = (path: string, current: Json | undefined, target: Json | undefined): void => {
    if (contested.has(path)) return settle(path, target);
    if (target !== undefined && same(current, target) && contestedWithin(path).length === 0) return;
    if (target === undefined) {
      if (current !== undefined) remove(path);
      return;
    }
    const type = typeAt(path);
    if (type === "counter" && typeof target === "number")
      return becomeCounter(path, current, target);
    if (type === "set" && Array.isArray(target)) return becomeSet(path, current, target);
    if (type === "list" && Array.isArray(target)) return becomeList(path, current, target);
    if (type === "text" && typeof target === "string" && target.isWellFormed())
      return becomeText(path, current, target);
    const isMap = isObject(target) && (path === "" || Object.keys(target).length > 0);
    if (!isMap) return set(path, target);
    const fields = isObject(current) ? current : {};
    if (current !== undefined && !isObject(current)) remove(path);
    for (const name of new Set([...Object.keys(fields), ...Object.keys(target)]))
      become(join(path, name), valueAt(fields, [name]), valueAt(target, [name]));
  };

  return {
    changes,
    clear() {
      if (state.cells.size > 0) remove("");
    },
    become(target, path = "", current = showAt(state, path)) {
      become(path, current, target);
    },
    isContested: (path) => contested.has(path),
    increment(path, by) {
      makeRoom(path, "counter");
      const cell = cellAt(path);
      const current = cell && !isCounted(cell) ? cell.registers[0]?.value : undefined;
      // A number that was a plain value before the field became a counter is where counting begins.
      if (typeof current === "number") return count(path, saturated(current + by));
      count(path, by);
    },
    add(path, value) {
      makeRoom(path, "set");
      make({ type: "add", path, value });
    },
    discard: (path, value) => make({ type: "discard", path, value }),
    changeList,
    edit,
  };
}

const observedOf = ({ counts }: Cell): ObservedCounts[string] =>
  Object.fromEntries([...counts].map(([origin, { times, total }]) => [origin, [times, total]]));

/** Holds values of this kind, or a plain one that such values begin at. */
function beginsAs(cell: Cell, type: MadeOfMany): boolean {
  const plain = cell.registers[0]?.value;
  switch (type) {
    case "list":
      return hasLiving(cell);
    case "set":
      return cell.members.size > 0;
    case "counter":
      return isCounted(cell) || typeof plain === "number";
    case "text":
      return lengthOf(cell.text) > 0 || typeof plain === "string";
  }
}

const hasLiving = ({ list }: Cell): boolean => list.some(({ value }) => value !== undefined);

const holdsOther = (cell: Cell, type: MadeOfMany): boolean =>
  (type !== "list" && hasLiving(cell)) ||
  (type !== "set" && cell.members.size > 0) ||
  (type !== "counter" && isCounted(cell)) ||
  (type !== "text" && lengthOf(cell.text) > 0);

/** Past this many comparisons the middle is replaced whole. */
const comparisonsMax = 1_000_000;

/** A longest common subsequence as index by index, after equal beginnings and ends. */
function commonOf(before: readonly string[], after: readonly string[]): Map<number, number> {
  const kept = new Map<number, number>();
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) {
    kept.set(start, start);
    start++;
  }
  let [a, b] = [before.length, after.length];
  while (a > start && b > start && before[a - 1] === after[b - 1]) kept.set(--a, --b);
  const [rows, columns] = [a - start, b - start];
  if (rows * columns === 0 || rows * columns > comparisonsMax) return kept;
  const width = columns + 1;
  const lengths = new Uint32Array((rows + 1) * width);
  const lengthOf = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      lengths[i * width + j] =
        before[start + i] === after[start + j]
          ? lengthOf(i + 1, j + 1) + 1
          : Math.max(lengthOf(i + 1, j), lengthOf(i, j + 1));
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (before[start + i] === after[start + j]) kept.set(start + i++, start + j++);
    else if (lengthOf(i + 1, j) >= lengthOf(i, j + 1)) i++;
    else j++;
  }
  return kept;
}

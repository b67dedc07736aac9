/**
 * The rows that a live query shows, and a reserve behind them, in the order of the answer; and what
 * changed in them since it was last told. Pure. Everything up to the window's end is in it; behind the
 * end nothing is known, and is read when rows are missing.
 */
import { hash } from "node:crypto";
import type { Place } from "./cursor.ts";
import type { SortKey } from "./query.ts";
import { orderingBy } from "./run.ts";

/** What is held of a row: where it stands, and a digest that tells whether it is still the same. */
export type Held = {
  readonly id: string;
  /** Of sort keys, a character a byte: they take a fraction of what buffers take. */
  readonly keys: readonly string[];
  readonly digest: string;
};

/**
 * One difference; `at` and `from` are places in the list as all steps before left it. A row that moves
 * is taken out at `from` first, and put in again at `at`.
 */
export type Step =
  | { readonly change: "removed"; readonly at: number; readonly held: Held }
  | { readonly change: "added"; readonly at: number; readonly held: Held }
  | {
      readonly change: "changed";
      readonly at: number;
      readonly from?: number;
      readonly held: Held;
    };

export interface Window {
  /** Rows held, the reserve included. */
  readonly size: number;
  /** A document is this now; undefined: it does not match, or is not there. */
  take(id: string, now: Held | undefined): void;
  /** How many rows must be read behind which place before `differences` is right. */
  lacking(): { readonly rows: number; readonly behind: Place } | undefined;
  /** What was read there; `isLast`: there is nothing behind it. */
  fill(rows: readonly Held[], isLast: boolean): void;
  /** Since the last call, at first since nothing. At most all rows removed and all rows added. */
  differences(): Step[];
}

export const digestOf = (row: string): string => hash("sha1", row, "base64url").slice(0, 16);

export const heldOf = ({ id, keys }: Place, digest: string): Held => ({
  id,
  keys: keys.map((key) => key.toString("latin1")),
  digest,
});

const placeOf = ({ id, keys }: Held): Place => ({
  id,
  keys: keys.map((key) => Buffer.from(key, "latin1")),
});

/** Rows behind those that are shown: so many removals cost no reading. */
export const reserveOf = (limit: number): number => Math.max(16, Math.ceil(limit / 4));

export function createWindow(
  { sort, limit }: { sort: readonly SortKey[]; limit: number },
  first: { readonly rows: readonly Held[]; readonly isLast: boolean },
): Window {
  const compare = orderingBy<string>(sort, (a = "", b = "") => (a < b ? -1 : a > b ? 1 : 0));
  const sizeMax = limit + reserveOf(limit);
  const rows = [...first.rows];
  const rowById = new Map(rows.map((row) => [row.id, row]));
  /** Where the known part ends; undefined: all is known. It may outlive its row. */
  let end = first.isLast ? undefined : rows.at(-1);
  let told: readonly Held[] = rows.slice(0, limit);
  let isTouched = false;

  /** Where it stands, or would stand. */
  const indexOf = (row: Held): number => {
    let low = 0;
    for (let high = rows.length; low < high;) {
      const middle = (low + high) >> 1;
      if (compare(rows[middle] as Held, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  return {
    get size() {
      return rows.length;
    },
    take(id, now) {
      const before = rowById.get(id);
      if (!before && !now) return;
      if (before && now && before.digest === now.digest && compare(before, now) === 0) return;
      if (before) {
        rows.splice(indexOf(before), 1);
        rowById.delete(id);
        isTouched = true;
      }
      if (!now || (end && compare(now, end) > 0)) return;
      rows.splice(indexOf(now), 0, now);
      rowById.set(id, now);
      isTouched = true;
      if (rows.length <= sizeMax) return;
      const last = rows.pop();
      if (last) rowById.delete(last.id);
      end = rows.at(-1);
    },
    lacking: () =>
      end && rows.length < limit ? { rows: limit - rows.length, behind: placeOf(end) } : undefined,
    fill(more, isLast) {
      for (const row of more) {
        rows.push(row);
        rowById.set(row.id, row);
      }
      end = isLast ? undefined : (more.at(-1) ?? end);
    },
    differences() {
      if (!isTouched) return [];
      isTouched = false;
      const now = rows.slice(0, limit);
      const steps = stepsBetween(told, now, compare);
      told = now;
      return steps;
    },
  };
}

/** What is in both and untouched is the same object, in the same order. */
function stepsBetween(
  before: readonly Held[],
  now: readonly Held[],
  compare: (a: Held, b: Held) => number,
): Step[] {
  const goneById = new Map<string, { readonly at: number; readonly held: Held }>();
  const come: { readonly at: number; readonly held: Held }[] = [];
  for (let i = 0, j = 0; i < before.length || j < now.length;) {
    const [old, held] = [before[i], now[j]];
    const order = !old ? 1 : !held ? -1 : old === held ? undefined : compare(old, held);
    if (old && order !== undefined && order <= 0) goneById.set(old.id, { at: i, held: old });
    if (held && order !== undefined && order >= 0) come.push({ at: j, held });
    if (order === undefined || order <= 0) i++;
    if (order === undefined || order >= 0) j++;
  }
  const stays = new Set(come.map(({ held }) => held.id));
  const removed = [...goneById.values()].filter(({ held }) => !stays.has(held.id)).reverse();
  const steps: Step[] = removed.map((gone) => ({ change: "removed", ...gone }));
  const isRemoved = new Set(removed.map(({ held }) => held));
  const list = before.filter((held) => !isRemoved.has(held));
  for (const { at: place, held } of come) {
    const old = goneById.get(held.id)?.held;
    const from = old ? list.indexOf(old) : -1;
    if (from >= 0) list.splice(from, 1);
    // What stands before it is in its place already, what will move away later may stand between.
    const predecessor = now[place - 1];
    const at = predecessor ? list.indexOf(predecessor) + 1 : 0;
    list.splice(at, 0, held);
    if (!old) steps.push({ change: "added", at, held });
    else if (from !== at) steps.push({ change: "changed", at, from, held });
    else if (old.digest !== held.digest) steps.push({ change: "changed", at, held });
  }
  return steps;
}

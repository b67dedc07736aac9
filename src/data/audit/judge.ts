/**
 * Whether what two stores hold differs, or only one of them has not heard yet. Pure. An operation stays
 * visible in a document's edits or deletions until a later one that knew of it takes its place; so where
 * each side has applied all that stands in both, both have applied the same operations on this document,
 * and must be equal (M1, M8), whatever else is written meanwhile. Entries of a log never change, so a
 * position that both stores have passed, and neither has removed, is in both or in none.
 */
import { unpackState } from "../documents/encode-state.ts";
import type { Cell, DocumentState } from "../documents/state.ts";
import { textOf } from "../documents/text.ts";
import type { Vector } from "../streams/store.ts";
import type { AuditedDocument, AuditedEntries, AuditedEntry, HeldLog } from "./sides.ts";

/** Who has what the other lacks. */
export type Only = "here" | "there";

export type DocumentVerdict =
  | { readonly state: "equal" }
  /** One side has not applied what the other has. */
  | { readonly state: "moving" }
  /** `fields`: JSON pointers, "" for what is not about one; `only`: the other has no trace of it. */
  | { readonly state: "different"; readonly fields: readonly string[]; readonly only?: Only };

export function judgeDocument(
  here: { document: AuditedDocument; applied: Vector },
  there: { document: AuditedDocument; applied: Vector },
): DocumentVerdict {
  const [mine, theirs] = [stateOf(here.document), stateOf(there.document)];
  const text = ({ state, origins }: AuditedDocument) => JSON.stringify([origins, state]);
  if (text(here.document) === text(there.document)) return { state: "equal" };
  const isApplied = (state: DocumentState, applied: Vector) =>
    [...state.edits, ...state.deletions].every(
      ({ origin, sequence }) => sequence <= (applied[origin] ?? 0),
    );
  if (!isApplied(mine, there.applied) || !isApplied(theirs, here.applied))
    return { state: "moving" };
  if (!here.document.state || !there.document.state)
    return { state: "different", fields: [], only: here.document.state ? "here" : "there" };
  const fields = [...new Set([...mine.cells.keys(), ...theirs.cells.keys()])]
    .filter((path) => cellText(mine.cells.get(path)) !== cellText(theirs.cells.get(path)))
    .sort();
  return { state: "different", fields: fields.length > 0 ? fields : [""] };
}

const stateOf = ({ state = {}, origins }: AuditedDocument): DocumentState =>
  unpackState(state, undefined, { originOf: (number) => origins[number] ?? "" });

const cellText = (cell: Cell | undefined): string =>
  JSON.stringify(
    cell && [
      cell.registers,
      [...cell.counts],
      [...cell.members].map(([key, { sequences }]) => [key, [...sequences]]),
      cell.list,
      cell.text && textOf(cell.text),
    ],
  );

/** Positions of a log, one after the other, that differ in the same way. */
export type EntryDifference = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  /** Absent: both have them, with other content. */
  readonly only?: Only;
};

/** Positions that both stores have passed, and neither has forgotten from the beginning. */
export function windowOf(
  here: Omit<HeldLog, "origin">,
  there: Omit<HeldLog, "origin">,
): { readonly from: number; readonly to: number } {
  return { from: Math.max(here.first, there.first), to: Math.min(here.top, there.top) };
}

export type LackingEntry = { readonly entry: AuditedEntry; readonly only: Only };

/** `lacking`: one side has no entry there; `changed`: other content, by position. */
export function compareEntries(
  here: AuditedEntries,
  there: AuditedEntries,
): { readonly lacking: readonly LackingEntry[]; readonly changed: readonly number[] } {
  const { from, to } = windowOf(here, there);
  const inside = ({ entries }: AuditedEntries) =>
    entries.filter(({ position }) => position >= from && position <= to);
  const theirs = new Map(inside(there).map((entry) => [entry.position, entry]));
  const lacking: LackingEntry[] = [];
  const changed: number[] = [];
  for (const entry of inside(here)) {
    const other = theirs.get(entry.position);
    theirs.delete(entry.position);
    if (!other) lacking.push({ entry, only: "here" });
    else if (other.print !== entry.print) changed.push(entry.position);
  }
  for (const entry of theirs.values()) lacking.push({ entry, only: "there" });
  return { lacking, changed };
}

/** Runs of positions. */
export function runsOf(
  origin: string,
  found: readonly { readonly position: number; readonly only?: Only }[],
): EntryDifference[] {
  const runs: { origin: string; from: number; to: number; only?: Only }[] = [];
  for (const { position, only } of found.toSorted((a, b) => a.position - b.position)) {
    const last = runs.at(-1);
    if (last && last.to === position - 1 && last.only === only) last.to = position;
    else runs.push({ origin, from: position, to: position, ...(only ? { only } : {}) });
  }
  return runs;
}

/**
 * How long ago documents changed here, by a clock of this store's own: it goes on with the monotonic
 * clock while the store is open, and never by the time of day, so no wall clock, this node's or another's,
 * makes a document old. A mark says how far the order of changes had come at an age of the store;
 * what stands before it is as old at least. Too few marks make documents younger, never older.
 */
import type { Clock } from "../../lib/clock.ts";

export type AgeMark = {
  /** Every change before this one was made by then. */
  readonly firstChange: number;
  /** Of the store. */
  readonly ageMs: number;
};

export interface AgeTables {
  ageMarks(): AgeMark[];
  addAgeMark(mark: AgeMark): void;
  dropAgeMark(mark: AgeMark): void;
  storeAgeMs(): number;
  setStoreAgeMs(ageMs: number): void;
  /** Of any document; 0 without any. */
  lastChange(): number;
}

export interface Ages {
  /** Inside a transaction. `stepMs`: marks stand so far apart, and ages are told so exactly. */
  note(stepMs: number): void;
  /** All changes below it are at least as old as this. */
  firstYounger(ageMs: number): number;
  /** Inside a transaction: nothing older than this will be asked for. */
  prune(ageMs: number): void;
  /** After changes were undone. */
  forget(): void;
}

/** A store that is started again may be so much younger. */
const savePeriodMs = 600_000;
const marksMax = 4000;

export function createAges({ tables, clock }: { tables: AgeTables; clock: Clock }): Ages {
  let marks: AgeMark[] = [];
  /** Of documents that are gone: their numbers are given out again. */
  let isStale = false;
  let savedMs = tables.storeAgeMs();
  let origin = { atMs: clock.monotonicMs(), ageMs: savedMs };
  const nowMs = () => origin.ageMs + Math.max(0, clock.monotonicMs() - origin.atMs);
  const load = () => {
    marks = tables.ageMarks();
    savedMs = tables.storeAgeMs();
    isStale = (marks.at(-1)?.firstChange ?? 0) > tables.lastChange() + 1;
    if (isStale) marks = [];
  };
  load();
  const drop = (mark: AgeMark) => tables.dropAgeMark(mark);
  const save = (ageMs: number) => {
    tables.setStoreAgeMs(ageMs);
    savedMs = ageMs;
  };

  return {
    note(stepMs) {
      if (isStale) for (const mark of tables.ageMarks()) drop(mark);
      isStale = false;
      const ageMs = nowMs();
      const last = marks.at(-1);
      const firstChange = tables.lastChange() + 1;
      const isDue = !last || (firstChange > last.firstChange && ageMs - last.ageMs >= stepMs);
      if (isDue) {
        const mark = { firstChange, ageMs };
        tables.addAgeMark(mark);
        marks.push(mark);
      }
      if (isDue || ageMs - savedMs >= savePeriodMs) save(ageMs);
      if (marks.length <= marksMax) return;
      const isKept = (index: number) => index % 2 === 0 || index > marksMax / 2;
      for (const [index, mark] of marks.entries()) if (!isKept(index)) drop(mark);
      marks = marks.filter((_, index) => isKept(index));
    },
    firstYounger(ageMs) {
      const untilMs = nowMs() - ageMs;
      return marks.findLast((mark) => mark.ageMs <= untilMs)?.firstChange ?? 0;
    },
    prune(ageMs) {
      const untilMs = nowMs() - ageMs;
      const needed = marks.findLastIndex((mark) => mark.ageMs <= untilMs);
      for (const mark of marks.slice(0, Math.max(0, needed))) drop(mark);
      if (needed > 0) marks = marks.slice(needed);
    },
    forget() {
      origin = { atMs: clock.monotonicMs(), ageMs: nowMs() };
      load();
    },
  };
}

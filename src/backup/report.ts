/** How the cell's backups stand, in words. Pure. */
import type { BackupReport } from "../api/index.ts";
import { formatDuration } from "../lib/duration.ts";
import type { BackupMeta } from "./meta.ts";
import type { LastBackup } from "./ports.ts";

export type BackupView = {
  readonly isOff: boolean;
  readonly last: LastBackup | undefined;
  /** The newest on this machine, whatever the cell knows of it: of before a restore, for one. */
  readonly newestHere: BackupMeta | undefined;
  readonly nowMs: number;
  readonly upMs: number;
  readonly staleMs: number;
  /** Why the last try failed. */
  readonly failure: string | undefined;
};

/** A start is given this long before a missing backup is told of. */
const patienceMs = 10 * 60_000;

export function reportOf(view: BackupView): BackupReport {
  const { last, nowMs, staleMs, failure, isOff } = view;
  const because = failure === undefined ? "" : `: ${failure}`;
  const ageMs = last === undefined ? undefined : Math.max(0, nowMs - last.meta.atMs);
  const known = {
    on: last?.on ?? [],
    ...(ageMs === undefined ? {} : { ageMs }),
    ...(last === undefined ? {} : { revision: last.meta.revision }),
  };
  const { newestHere } = view;
  const kept =
    newestHere === undefined
      ? ""
      : `; the newest on this machine is ${formatDuration(Math.max(0, nowMs - newestHere.atMs))} old (revision ${newestHere.revision})`;
  const newest =
    ageMs === undefined
      ? "none was made yet"
      : `the last verified one is ${formatDuration(ageMs)} old, on ${listed(known.on)}`;
  if (isOff) return { state: "off", ...known, words: `Backups are switched off; ${newest}.` };
  if (ageMs === undefined) {
    const isLate = view.upMs > patienceMs || failure !== undefined;
    return {
      state: isLate ? "stale" : "waiting",
      ...known,
      words: isLate
        ? `No backup was made of what the cell is now${because}${kept}.`
        : `A backup of this cell is about to be made${kept}.`,
    };
  }
  // After a start the last one may be old: it was not possible to make one meanwhile.
  const isStale = ageMs > staleMs && (view.upMs > patienceMs || failure !== undefined);
  return {
    state: isStale ? "stale" : "fresh",
    ...known,
    words: isStale
      ? `The cell was not backed up lately${because}; ${newest}.`
      : `Last verified backup ${formatDuration(ageMs)} ago (revision ${last?.meta.revision}), on ${listed(known.on)}${known.on.length < 2 ? " alone" : ""}.`,
  };
}

const listed = (names: readonly string[]) =>
  names.length === 0
    ? "no machine"
    : names.map((name) => (name === "hub" ? "the hub" : name)).join(", ");

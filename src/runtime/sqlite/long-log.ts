/**
 * Keeps SQLite's log from growing for ever where readers overlap. A log begins again from its start only
 * at a moment when nobody reads from it ("checkpoint starvation", sqlite.org/wal.html), and two readers
 * that take turns never leave one. Past a bound the writer waits for those that read now: whoever comes
 * meanwhile reads from the file, so the wait is for the longest of them, and it is bounded.
 */
import { statSync } from "node:fs";
import { busyTimeoutMs, logFile, type Database } from "./open.ts";

export type LongLogOptions = {
  readonly path: string;
  /** Until there nobody waits. Default 64 MiB. */
  readonly bytesMax?: number;
};

/** Tries again when it has grown by this part of the bound. */
const triesPerBound = 8;
const waitMs = 50;
/** Where short waits did not do. */
const patientAtBounds = 4;
const patientWaitMs = 1000;

/** To be called after each commit. */
export function createLogBound(
  db: Database,
  { path, bytesMax = 64 * 1024 * 1024 }: LongLogOptions,
): () => void {
  let triedAt = 0;
  const logBytes = () => statSync(logFile(path), { throwIfNoEntry: false })?.size ?? 0;
  return () => {
    const bytes = logBytes();
    if (bytes <= bytesMax) {
      triedAt = 0;
      return;
    }
    if (bytes < triedAt + bytesMax / triesPerBound) return;
    const isPatient = bytes > bytesMax * patientAtBounds;
    // Empties the file as well, so that its size tells whether it was of use.
    emptyLog(db, isPatient ? patientWaitMs : waitMs);
    triedAt = logBytes();
  };
}

/** Moves the log into the file and takes its room back, where nobody reads from it for longer than that. */
export function emptyLog(db: Database, readersMs: number): void {
  db.exec(`PRAGMA busy_timeout = ${readersMs}`);
  try {
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } finally {
    db.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
  }
}

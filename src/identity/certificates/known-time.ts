/** The last time known, on disk: for the next start, and for the command line while the agent runs. */
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { silentLog, type Log } from "../../lib/log.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";

/** A clock that nobody sets: it starts with the boot and counts suspends. */
export type Steady = { readonly bootId: string; readonly nowMs: () => number };

type TimeRecord = {
  /** The floor when this was written. */
  readonly knownMs: number;
  readonly bootId?: string;
  /** The steady clock when this was written. */
  readonly steadyMs?: number;
  /** The cell's time when this was written; only when peers had a say in it. */
  readonly agreedMs?: number;
};

/** Clocks are not disciplined here: a difference of less than this is none. */
export const toleranceMs = 60_000;

const recordPath = (folder: string) => join(folder, "time.json");

export function writeKnownTime(
  folder: string,
  known: { floorMs: number; agreedMs?: number; steady: Steady },
): void {
  writeRecord(recordPath(folder), {
    knownMs: Math.floor(known.floorMs),
    bootId: known.steady.bootId,
    steadyMs: known.steady.nowMs(),
    ...(known.agreedMs === undefined ? {} : { agreedMs: known.agreedMs }),
  } satisfies TimeRecord);
}

/**
 * The floor now, and what peers agreed on in this very boot, as the time at which the steady clock was
 * zero. Of an earlier boot the floor alone counts: how long the machine was off nobody knows.
 */
export function readKnownTime(
  folder: string,
  { steady, log }: { steady: Steady; log: Log },
): { floorMs: number; agreedBaseMs?: number } {
  let record: Partial<TimeRecord> | undefined;
  try {
    record = readRecord(recordPath(folder)) as Partial<TimeRecord> | undefined;
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    // Never refuse to start because of the clock.
    log.warn("the last known time cannot be read", { error });
  }
  const { knownMs, bootId, steadyMs, agreedMs } = record ?? {};
  if (typeof knownMs !== "number") return { floorMs: 0 };
  const isThisBoot = bootId === steady.bootId && bootId !== "" && typeof steadyMs === "number";
  if (!isThisBoot) return { floorMs: knownMs };
  return {
    floorMs: knownMs + Math.max(0, steady.nowMs() - steadyMs),
    ...(typeof agreedMs === "number" ? { agreedBaseMs: agreedMs - steadyMs } : {}),
  };
}

/** The cell's time as a program beside the agent can know it: what the agent last wrote, counted on. */
export function knownTimeMs(
  folder: string,
  { clock, steady }: { clock: Clock; steady: Steady },
): number {
  const { floorMs, agreedBaseMs } = readKnownTime(folder, { steady, log: silentLog });
  const wallMs = clock.wallMs();
  const agreedMs = agreedBaseMs === undefined ? wallMs : agreedBaseMs + steady.nowMs();
  return Math.max(floorMs, Math.abs(agreedMs - wallMs) < toleranceMs ? wallMs : agreedMs);
}

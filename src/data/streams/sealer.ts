/**
 * Seals in the background: the newest entries of a stream stay rows, older ones go into segments, a
 * thousand at a time, each in a transaction of a few milliseconds. It gives way: while appends come,
 * it takes one slice a turn, and more only as the debt grows; when none come it works it off. What it
 * seals is full; what was sealed smaller, as it came, the compactor puts together.
 */
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import type { StreamRow } from "../tables/names.ts";
import type { SealLimits } from "../tables/sealing.ts";
import type { Tables } from "../tables/tables.ts";
import { startCompactor } from "./compactor.ts";

export type SealingOptions = {
  /** In a segment. Default 1000. */
  readonly entriesMax?: number;
  /** Of bodies in a segment, which ends with the entry that reaches it. Default 256 KiB. */
  readonly bytesMax?: number;
  /** The newest, which stay rows. Default 1000. */
  readonly tailEntries?: number;
  /** Between two turns. Default 200. */
  readonly periodMs?: number;
};

/** What bounds a stream, as it bears on sealing. */
export type SealingBounds = { readonly ageMs?: number; readonly bytesMax: number };

export const sealedEntriesMax = 1000;
export const sealedBytesMax = 256 * 1024;
/** A stream that may hold less than this stays rows: retention is exact there, and little is saved. */
export const sealedStreamBytesMin = 1024 * 1024;
/** A segment goes whole: it is to be a small part of what its stream may hold, and for how long. */
export const segmentShare = 8;
/** Rows that wait for sealing, for each further slice of a turn while appends come. */
const debtPerSlice = 50_000;
/** However much waits (a store of an earlier version is all rows), less than half of the thread's time. */
const slicesMax = 16;
const pauseAfterFailureMs = 30_000;

export function startSealer(
  deps: {
    readonly clock: Clock;
    readonly log: Log;
    readonly writer: Writer;
    readonly tables: Tables;
    /** Undefined: not known yet, the stream waits. */
    readonly boundsOf: (stream: StreamRow) => SealingBounds | undefined;
  },
  options: SealingOptions = {},
): { stop(): void } {
  const { clock, log, writer, tables, boundsOf } = deps;
  const { names, segments, sealing, entries, retention } = tables;
  const { entriesMax = sealedEntriesMax, bytesMax = sealedBytesMax, tailEntries = 1000 } = options;
  const { periodMs = 200 } = options;
  const tailBytes = 4 * bytesMax;
  /** Rows of streams that fill too slowly, when that was seen. */
  const slowRowsByStream = new Map<number, number>();
  let notBeforeMs = 0;
  const ended = new AbortController();

  const rowsOf = (stream: StreamRow) => {
    const sealed = segments.sealed(stream);
    return { entries: stream.entries - sealed.entries, bytes: stream.bytes - sealed.bytes };
  };
  const debtOf = (stream: StreamRow): number => {
    const rows = rowsOf(stream);
    const isDue = rows.entries >= tailEntries + entriesMax || rows.bytes >= tailBytes + bytesMax;
    const bounds = isDue ? boundsOf(stream) : undefined;
    if (!bounds || bounds.bytesMax < sealedStreamBytesMin) return 0;
    const slowRows = slowRowsByStream.get(stream.id);
    const isSlow =
      slowRows !== undefined && rows.entries >= slowRows && rows.entries < slowRows + entriesMax;
    return isSlow ? 0 : rows.entries;
  };

  const limitsOf = (bounds: SealingBounds): SealLimits => ({
    entriesMax,
    bytesMax: Math.min(bytesMax, bounds.bytesMax / segmentShare),
    accept: ({ firstId, lastId }) =>
      bounds.ageMs === undefined ||
      (retention.ageOfMs(firstId) ?? 0) - (retention.ageOfMs(lastId) ?? 0) <=
        bounds.ageMs / segmentShare,
  });
  const sealOne = async (stream: StreamRow, bounds: SealingBounds): Promise<void> => {
    const packing = sealing.packing(stream, limitsOf(bounds));
    let step = packing.next();
    for (; !step.done; step = packing.next()) await clock.sleep(0);
    const packed = step.value;
    if (!packed) return void slowRowsByStream.set(stream.id, rowsOf(stream).entries);
    slowRowsByStream.delete(stream.id);
    await clock.sleep(0);
    await writer.write(() => sealing.seal(packed));
  };

  const turn = async () => {
    if (clock.monotonicMs() < notBeforeMs) return;
    for (let slices = 0; !ended.signal.aborted; slices++) {
      const debts = names.streams().map((stream) => ({ stream, debt: debtOf(stream) }));
      const debt = debts.reduce((sum, of) => sum + of.debt, 0);
      const [due] = debts.filter((of) => of.debt > 0).sort((a, b) => b.debt - a.debt);
      const bounds = due && boundsOf(due.stream);
      if (!due || !bounds) return;
      const arrived = entries.nextId;
      await sealOne(due.stream, bounds);
      if (entries.nextId !== arrived && slices >= Math.min(slicesMax, debt / debtPerSlice)) return;
    }
  };

  const turns = every(clock, periodMs, turn, (error) => {
    if (ended.signal.aborted) return;
    notBeforeMs = clock.monotonicMs() + pauseAfterFailureMs;
    log.error("sealing failed; entries stay rows, and it is tried again", { error });
  });
  const compactor = startCompactor(
    { clock, log, writer, tables },
    (stream) => {
      const bounds = boundsOf(stream);
      return bounds && limitsOf(bounds);
    },
    periodMs,
  );
  return {
    stop() {
      ended.abort();
      compactor.stop();
      turns.cancel();
    },
  };
}

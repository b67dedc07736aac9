/**
 * Takes pieces of logs, and large appends, into the tables: what comes in numbers is sealed as it comes,
 * and never is rows; what comes a few at a time, or stands here in part, goes in as rows, which are
 * sealed behind it. Runs inside a transaction.
 */
import type { StoredEntry } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SealedRow } from "../batch/segment.ts";
import type { ApplyAnswer, LogBatch } from "../streams/store.ts";
import { sealedStreamBytesMin, segmentShare, type SealingBounds } from "../streams/sealer.ts";
import { applyBatch } from "./apply.ts";
import { originOfLog } from "./lanes.ts";
import type { OriginRow, StreamRow } from "./names.ts";
import { keysByProducer, type Keys } from "./sealed-keys.ts";
import type { Tables } from "./tables.ts";

export interface Arrivals {
  apply(
    scope: string,
    batch: LogBatch,
    onStored: (stream: StreamRow, origin: OriginRow, sequence: number, bodyBytes: number) => void,
  ): ApplyAnswer;
  /** Of a stream, with the next ids. False: nothing was done, these are to be rows. */
  seal(stream: StreamRow, origin: OriginRow, fresh: readonly Placed[]): boolean;
  /** Fewer are to be rows. */
  readonly sealedMin: number;
}

export type Placed = { readonly id: number; readonly entry: StoredEntry };

export type ArrivalsOptions = {
  /** Undefined: not known yet, the stream is rows. */
  readonly boundsOf: (stream: StreamRow) => SealingBounds | undefined;
  /** Fewer of a stream in one batch are rows: a segment costs lines of its own in the directory. */
  readonly sealedMin: number;
  /** In one segment; those that stood before as rows come on top. Default: all of a batch. */
  readonly entriesMax?: number;
  /** Of bodies in one segment, which ends with the entry that reaches it. Default: all of a batch. */
  readonly bytesMax?: number;
};

/** Rows that go into the segment of what comes behind them; more than that the sealer is at work on. */
const rowsMax = 2000;

export function createArrivals(
  db: Database,
  tables: Tables,
  { boundsOf, sealedMin, entriesMax = Infinity, bytesMax = Infinity }: ArrivalsOptions,
): Arrivals {
  const { names, segments, sealing, entries, retention } = tables;
  const lastRunBefore = db.prepare(
    `SELECT last FROM run WHERE producer = ? AND epoch = ? AND first <= ?
     ORDER BY first DESC LIMIT 1`,
  );
  const rowBetween = db.prepare(
    `SELECT 1 FROM entry WHERE producer = ? AND epoch = ? AND producer_sequence BETWEEN ? AND ?
     LIMIT 1`,
  );
  const oldestRow = db.prepare("SELECT min(id) AS id FROM entry WHERE stream = ?");

  const isOldEnoughApart = (stream: StreamRow, ageMs: number | undefined): boolean => {
    if (ageMs === undefined) return false;
    const id = Number(oldestRow.get(stream.id)?.["id"]);
    return (retention.ageOfMs(id) ?? 0) > ageMs / segmentShare;
  };
  /** Whether its rows and what comes behind them may be one segment. */
  const mayBeOne = (stream: StreamRow, fresh: readonly Placed[]): boolean => {
    const bounds = boundsOf(stream);
    if (!bounds || bounds.bytesMax < sealedStreamBytesMin) return false;
    const sealed = segments.sealed(stream);
    const rowCount = stream.entries - sealed.entries;
    const bytes = fresh.reduce((sum, { entry }) => sum + entry.body.length, 0);
    return (
      rowCount <= rowsMax &&
      stream.bytes - sealed.bytes + bytes <= bounds.bytesMax / segmentShare &&
      !(rowCount > 0 && isOldEnoughApart(stream, bounds.ageMs))
    );
  };
  /** One of these keys, or one between them. */
  const isThere = ({ producer, epoch, sequences }: Keys, hasRows: boolean): boolean => {
    const [first = 0, last = first] = [sequences[0], sequences.at(-1)];
    return (
      Number(lastRunBefore.get(producer, epoch, last)?.["last"] ?? 0) >= first ||
      (hasRows && rowBetween.get(producer, epoch, first, last) !== undefined)
    );
  };

  const seal = (stream: StreamRow, origin: OriginRow, fresh: readonly Placed[]): boolean => {
    if (fresh.length < sealedMin || !mayBeOne(stream, fresh)) return false;
    const hasRows = stream.entries > segments.sealed(stream).entries;
    const rows = fresh.map(({ id, entry: { key, atMs, body, position } }): SealedRow => ({
      id,
      origin: origin.id,
      sequence: position.sequence,
      key: key && {
        producer: names.producer(stream, key.producer),
        epoch: key.epoch,
        sequence: key.sequence,
      },
      atMs,
      body,
    }));
    // Out of order: whether a key came before would cost more to know than rows do.
    for (const keys of keysByProducer(rows))
      if (!keys.ascends || isThere(keys, hasRows)) return false;
    for (const part of partsOf(rows, { entriesMax, bytesMax })) sealing.append(stream, part);
    return true;
  };

  return {
    seal,
    sealedMin,
    apply(scope, batch, onStored) {
      const top = names.findOrigin(scope, batch.origin)?.top ?? 0;
      if (batch.from > top + 1 || batch.entries.length < sealedMin)
        return applyBatch(tables, scope, batch, onStored);
      retention.noteArrival();
      const origin = names.origin(scope, originOfLog(batch.origin));
      const fresh = batch.entries.filter(({ position }) => position.sequence > top);
      // In the order of the log, whatever becomes of them: who reads the view reads it in that order.
      const firstId = entries.reserve(fresh.length);
      const placed = fresh.map((entry, index): Placed => ({ id: firstId + index, entry }));
      const asRows: Placed[] = [];
      let sealed = 0;
      for (const [name, ofStream] of Map.groupBy(placed, ({ entry }) => entry.stream)) {
        const stream = names.stream(scope, name);
        if (seal(stream, origin, ofStream)) {
          sealed += ofStream.length;
          for (const { entry } of ofStream)
            onStored(stream, origin, entry.position.sequence, entry.body.length);
        } else asRows.push(...ofStream);
      }
      asRows.sort((a, b) => a.id - b.id);
      const left = { ...batch, entries: asRows.map(({ entry }) => entry) };
      const ids = new Map(asRows.map(({ id, entry }) => [entry, id]));
      const answer = applyBatch(tables, scope, left, onStored, ids);
      return { ...answer, stored: answer.stored + sealed };
    },
  };
}

function* partsOf(
  rows: readonly SealedRow[],
  { entriesMax, bytesMax }: { entriesMax: number; bytesMax: number },
): Generator<readonly SealedRow[]> {
  let [first, bytes] = [0, 0];
  for (const [index, { body }] of rows.entries()) {
    bytes += body.length;
    if (index + 1 - first < entriesMax && bytes < bytesMax) continue;
    yield rows.slice(first, index + 1);
    [first, bytes] = [index + 1, 0];
  }
  if (first < rows.length) yield rows.slice(first);
}

/**
 * Takes pieces of logs, and large appends, into the tables: what comes in numbers is sealed as it comes,
 * and never is rows; what comes a few at a time, or stands here in part, goes in as rows, which are
 * sealed behind it. Runs inside a transaction.
 */
import type { EntryColumns, StoredEntry } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { toLogBatch } from "../batch/codec.ts";
import { columnsOfRows, sliceColumns, type SegmentColumns } from "../batch/segment.ts";
import type { ApplyAnswer, ColumnBatch } from "../streams/store.ts";
import { sealedStreamBytesMin, segmentShare, type SealingBounds } from "../streams/sealer.ts";
import { applyBatch } from "./apply.ts";
import { originOfLog } from "./lanes.ts";
import type { OriginRow, StreamRow } from "./names.ts";
import { keysByProducer, type Keys } from "./sealed-keys.ts";
import type { Tables } from "./tables.ts";

export interface Arrivals {
  apply(
    scope: string,
    batch: ColumnBatch,
    onStored: (stream: StreamRow, origin: OriginRow, sequence: number, bodyBytes: number) => void,
  ): ApplyAnswer;
  /** Of a stream, with the next ids; asked for once they may be sealed. False: nothing was done, these are to be rows. */
  seal(stream: StreamRow, origin: OriginRow, size: Size, fresh: () => readonly Placed[]): boolean;
  /** Fewer are to be rows. */
  readonly sealedMin: number;
}

export type Placed = { readonly id: number; readonly entry: StoredEntry };
/** Bytes of bodies. */
export type Size = { readonly entries: number; readonly bytes: number };

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
  const mayBeOne = (stream: StreamRow, { entries: count, bytes }: Size): boolean => {
    const bounds = count < sealedMin ? undefined : boundsOf(stream);
    if (!bounds || bounds.bytesMax < sealedStreamBytesMin) return false;
    const sealed = segments.sealed(stream);
    const rowCount = stream.entries - sealed.entries;
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
  const sealColumns = (stream: StreamRow, size: Size, columnsOf: () => SegmentColumns): boolean => {
    if (!mayBeOne(stream, size)) return false;
    const hasRows = stream.entries > segments.sealed(stream).entries;
    const columns = columnsOf();
    // Out of order: whether a key came before would cost more to know than rows do.
    for (const keys of keysByProducer(columns))
      if (!keys.ascends || isThere(keys, hasRows)) return false;
    for (const part of partsOf(columns, { entriesMax, bytesMax })) sealing.append(stream, part);
    return true;
  };

  const rowsOf = (stream: StreamRow, origin: OriginRow, placed: readonly Placed[]) =>
    placed.map(({ id, entry: { key, atMs, body, position } }) => ({
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
  const seal: Arrivals["seal"] = (stream, origin, size, fresh) =>
    sealColumns(stream, size, () => columnsOfRows(rowsOf(stream, origin, fresh())));

  /** All of one stream: as it came, but for the numbers that this store has for names. */
  const columnsAt = (
    { stream, origin, firstId }: { stream: StreamRow; origin: OriginRow; firstId: number },
    columns: EntryColumns,
  ): SegmentColumns => {
    const { producers, producer, position } = columns;
    const numbers: number[] = [];
    const numberOf = (index: number) =>
      (numbers[index] ??= names.producer(stream, producers[index] ?? ""));
    return {
      ids: position.map((_, index) => firstId + index),
      origins: position.map(() => origin.id),
      sequences: position,
      producers: producer.map((index) => (index < 0 ? -1 : numberOf(index))),
      epochs: columns.epoch,
      keySequences: columns.sequence,
      times: columns.atMs,
      ends: columns.end,
      bodies: columns.bodies,
    };
  };

  return {
    seal,
    sealedMin,
    apply(scope, batch, onStored) {
      const { columns } = batch;
      const top = names.findOrigin(scope, batch.origin)?.top ?? 0;
      if (batch.from > top + 1 || columns.stream.length < sealedMin)
        return applyBatch(tables, scope, toLogBatch(batch), onStored);
      retention.noteArrival();
      const origin = names.origin(scope, originOfLog(batch.origin));
      const { position, end, streams } = columns;
      const size = { entries: position.length, bytes: columns.bodies.length };
      if (streams.length === 1 && (position[0] ?? 0) > top) {
        const stream = names.stream(scope, streams[0] ?? "");
        const at = { stream, origin, firstId: entries.nextId };
        if (sealColumns(stream, size, () => columnsAt(at, columns))) {
          entries.reserve(size.entries);
          for (let index = 0; index < position.length; index++)
            onStored(
              stream,
              origin,
              position[index] as number,
              (end[index] as number) - (end[index - 1] ?? 0),
            );
          const nothing = { ...batch, entries: [] };
          return { ...applyBatch(tables, scope, nothing, onStored), stored: size.entries };
        }
      }
      const whole = toLogBatch(batch);
      const fresh = whole.entries.filter(({ position: at }) => at.sequence > top);
      // In the order of the log, whatever becomes of them: who reads the view reads it in that order.
      const firstId = entries.reserve(fresh.length);
      const placed = fresh.map((entry, index): Placed => ({ id: firstId + index, entry }));
      const asRows: Placed[] = [];
      let sealed = 0;
      for (const [name, ofStream] of Map.groupBy(placed, ({ entry }) => entry.stream)) {
        const stream = names.stream(scope, name);
        const bytes = ofStream.reduce((sum, { entry }) => sum + entry.body.length, 0);
        if (seal(stream, origin, { entries: ofStream.length, bytes }, () => ofStream)) {
          sealed += ofStream.length;
          for (const { entry } of ofStream)
            onStored(stream, origin, entry.position.sequence, entry.body.length);
        } else asRows.push(...ofStream);
      }
      asRows.sort((a, b) => a.id - b.id);
      const left = { ...whole, entries: asRows.map(({ entry }) => entry) };
      const ids = new Map(asRows.map(({ id, entry }) => [entry, id]));
      const answer = applyBatch(tables, scope, left, onStored, ids);
      return { ...answer, stored: answer.stored + sealed };
    },
  };
}

function* partsOf(
  columns: SegmentColumns,
  { entriesMax, bytesMax }: { entriesMax: number; bytesMax: number },
): Generator<SegmentColumns> {
  const { ends } = columns;
  let [first, start] = [0, 0];
  for (let index = 0; index < ends.length; index++) {
    const end = ends[index] as number;
    if (index + 1 - first < entriesMax && end - start < bytesMax) continue;
    yield sliceColumns(columns, first, index + 1);
    [first, start] = [index + 1, end];
  }
  if (first < ends.length) yield sliceColumns(columns, first, ends.length);
}

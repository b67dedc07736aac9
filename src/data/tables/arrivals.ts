/**
 * Takes pieces of logs, and large appends, into the tables: what comes in numbers is sealed as it comes,
 * and never is rows; what comes a few at a time, or stands here in part, goes in as rows, which are
 * sealed behind it. Runs inside a transaction.
 */
import type { EntryColumns, StoredEntry } from "../../api/index.ts";
import { pick } from "../../api/records/index.ts";
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

  /** Of one stream; as they came, but for the numbers that this store has for names. */
  const columnsAt = (
    { stream, origin, ids }: { stream: StreamRow; origin: OriginRow; ids: readonly number[] },
    columns: EntryColumns,
  ): SegmentColumns => {
    const { producers, producer, position } = columns;
    const numbers: number[] = [];
    const numberOf = (index: number) =>
      (numbers[index] ??= names.producer(stream, producers[index] ?? ""));
    return {
      ids,
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
      const fresh = freshIn(columns, top);
      // In the order of the log, whatever becomes of them: who reads the view reads it in that order.
      const firstId = entries.reserve(fresh.stream.length);
      const asRows: number[] = [];
      let sealed = 0;
      for (const [name, indexes] of byStream(fresh)) {
        const stream = names.stream(scope, name);
        const { length: count } = indexes;
        const isAll = count === fresh.stream.length;
        const own = isAll ? fresh : count < sealedMin ? undefined : pick(fresh, indexes);
        const at = { stream, origin, ids: indexes.map((index) => firstId + index) };
        if (own && sealColumns(stream, sizeOf(own), () => columnsAt(at, own))) {
          sealed += count;
          for (const [index, position] of own.position.entries())
            onStored(stream, origin, position, (own.end[index] ?? 0) - (own.end[index - 1] ?? 0));
        } else asRows.push(...indexes);
      }
      asRows.sort((a, b) => a - b);
      const left = toLogBatch({ ...batch, columns: pick(fresh, asRows) });
      const ids = new Map(
        left.entries.map((entry, index) => [entry, firstId + (asRows[index] ?? 0)]),
      );
      const answer = applyBatch(tables, scope, left, onStored, ids);
      return { ...answer, stored: answer.stored + sealed };
    },
  };
}

/** Those behind `top`. */
function freshIn(columns: EntryColumns, top: number): EntryColumns {
  const first = columns.position.findIndex((position) => position > top);
  if (first === 0) return columns;
  const { length } = columns.position;
  return pick(
    columns,
    first < 0 ? [] : Array.from({ length: length - first }, (_, index) => first + index),
  );
}

/** Indexes, ascending. */
function byStream({ streams, stream }: EntryColumns): Map<string, readonly number[]> {
  const found = streams.map((): number[] => []);
  for (let index = 0; index < stream.length; index++) found[stream[index] as number]?.push(index);
  return new Map(streams.flatMap((name, at) => (found[at]?.length ? [[name, found[at]]] : [])));
}

const sizeOf = ({ position, bodies }: EntryColumns): Size => ({
  entries: position.length,
  bytes: bodies.length,
});

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

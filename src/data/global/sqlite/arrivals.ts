/**
 * Takes what cells send into the hub's tables: what comes in numbers is sealed as it comes, and never
 * is rows; what comes a few at a time, or stands here in part, goes in as rows, which are sealed behind
 * it. Runs inside a transaction.
 */
import type { StoredEntry } from "../../../api/index.ts";
import type { Database } from "../../../runtime/sqlite/index.ts";
import type { SealedRow } from "../../batch/segment.ts";
import type { ApplyAnswer, LogBatch } from "../../streams/store.ts";
import type { SealingBounds } from "../../streams/sealer.ts";
import { applyBatch } from "../../tables/apply.ts";
import { originOfLog } from "../../tables/lanes.ts";
import type { StreamRow } from "../../tables/names.ts";
import type { Tables } from "../../tables/tables.ts";

export interface Arrivals {
  apply(cell: string, batch: LogBatch, onStored: (stream: StreamRow) => void): ApplyAnswer;
}

/** Fewer of a stream in one batch are rows: a segment costs lines of its own in the directory. */
const sealedMin = 100;
/** Rows that go into the segment of what comes behind them: about as long as the sealer leaves them. */
const rowsMax = 2000;
/** As the sealer has it: what may hold little stays rows, and its limits are kept exactly. */
const sealedStreamBytesMin = 1024 * 1024;
const segmentShare = 8;

export function createArrivals(db: Database, tables: Tables, bounds: SealingBounds): Arrivals {
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

  const isOldEnoughApart = (stream: StreamRow): boolean => {
    if (bounds.ageMs === undefined) return false;
    const id = Number(oldestRow.get(stream.id)?.["id"]);
    return (retention.ageOfMs(id) ?? 0) > bounds.ageMs / segmentShare;
  };
  /** By producer and epoch, the least and greatest sequence; undefined: a key comes twice. */
  const spansOf = (rows: readonly SealedRow[]): KeySpan[] | undefined => {
    const byProducer = new Map<number, Map<number, KeySpan>>();
    for (const { key } of rows) {
      if (!key) continue;
      const { producer, epoch, sequence } = key;
      let byEpoch = byProducer.get(producer);
      if (!byEpoch) byProducer.set(producer, (byEpoch = new Map()));
      const span = byEpoch.get(epoch);
      if (!span) byEpoch.set(epoch, { producer, epoch, first: sequence, last: sequence });
      // Out of order: whether it came before would cost more to know than rows do.
      else if (sequence <= span.last) return undefined;
      else span.last = sequence;
    }
    return [...byProducer.values()].flatMap((byEpoch) => [...byEpoch.values()]);
  };
  const isThere = ({ producer, epoch, first, last }: KeySpan, hasRows: boolean): boolean =>
    Number(lastRunBefore.get(producer, epoch, last)?.["last"] ?? 0) >= first ||
    (hasRows && rowBetween.get(producer, epoch, first, last) !== undefined);

  /** False: nothing was done, these are to be rows. */
  const seal = (stream: StreamRow, origin: number, fresh: readonly Placed[]): boolean => {
    if (fresh.length < sealedMin || bounds.bytesMax < sealedStreamBytesMin) return false;
    const rowCount = stream.entries - segments.sealed(stream).entries;
    if (rowCount > rowsMax || (rowCount > 0 && isOldEnoughApart(stream))) return false;
    const rows = fresh.map(({ id, entry: { key, atMs, body, position } }): SealedRow => ({
      id,
      origin,
      sequence: position.sequence,
      key: key && {
        producer: names.producer(stream, key.producer),
        epoch: key.epoch,
        sequence: key.sequence,
      },
      atMs,
      body,
    }));
    const spans = spansOf(rows);
    if (!spans || spans.some((span) => isThere(span, rowCount > 0))) return false;
    sealing.append(stream, rows);
    return true;
  };

  return {
    apply(cell, batch, onStored) {
      const top = names.findOrigin(cell, batch.origin)?.top ?? 0;
      if (batch.from > top + 1 || batch.entries.length < sealedMin)
        return applyBatch(tables, cell, batch, onStored);
      retention.noteArrival();
      const origin = names.origin(cell, originOfLog(batch.origin)).id;
      const fresh = batch.entries.filter(({ position }) => position.sequence > top);
      // In the order of the log, whatever becomes of them: who reads the view reads it in that order.
      const firstId = entries.reserve(fresh.length);
      const placed = fresh.map((entry, index): Placed => ({ id: firstId + index, entry }));
      const asRows: Placed[] = [];
      let sealed = 0;
      for (const [name, ofStream] of Map.groupBy(placed, ({ entry }) => entry.stream)) {
        const stream = names.stream(cell, name);
        if (seal(stream, origin, ofStream)) {
          sealed += ofStream.length;
          onStored(stream);
        } else asRows.push(...ofStream);
      }
      asRows.sort((a, b) => a.id - b.id);
      const left = { ...batch, entries: asRows.map(({ entry }) => entry) };
      const ids = new Map(asRows.map(({ id, entry }) => [entry, id]));
      const answer = applyBatch(tables, cell, left, onStored, ids);
      return { ...answer, stored: answer.stored + sealed };
    },
  };
}

type Placed = { readonly id: number; readonly entry: StoredEntry };

type KeySpan = {
  readonly producer: number;
  readonly epoch: number;
  readonly first: number;
  last: number;
};

/**
 * Rows to segments and back. Each change runs inside one transaction, so that at every moment, after
 * a crash too, an entry is either a row or sealed (S2). What takes longest, reading and packing, is
 * done before: other writes go on between the two.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import {
  columnsOfRows,
  encodeSegment,
  joinColumns,
  type EncodedSegment,
  type SealedRow,
  type SegmentColumns,
} from "../batch/segment.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { rowColumns, toSealedRow } from "./rows.ts";
import { runsOf, type Run } from "./sealed-keys.ts";
import type { Held } from "./segment-directory.ts";
import { idsOf, timesOf, type SegmentWrites } from "./segment-writes.ts";
import type { Segments } from "./segments.ts";

export type SealLimits = {
  readonly entriesMax: number;
  /** Of bodies; a segment ends with the entry that reaches it. */
  readonly bytesMax: number;
  /** Whether these ids, which stand for when entries arrived, may go into one segment. */
  readonly accept: (ids: { firstId: number; lastId: number }) => boolean;
};

/** A segment that is packed and not written yet. */
export type Packed = {
  readonly stream: number;
  readonly rows: SegmentColumns;
  readonly content: EncodedSegment;
  readonly generation: number;
};

export interface Sealing {
  /** Changes with the positions of entries: what was packed before is not what is there now. */
  readonly generation: number;
  /**
   * Packs the oldest rows of a stream, yielding every few of them for others' sake; undefined when there
   * are none, or they were not accepted.
   */
  packing(stream: StreamRow, limits: SealLimits): Generator<void, Packed | undefined>;
  /** Inside a transaction: how many rows were sealed, 0 when they changed since they were packed. */
  seal(packed: Packed): number;
  /**
   * Inside a transaction: entries with the next ids that never were rows, in one segment with the rows
   * of their stream, so that nothing sealed stands behind a row (S1). Their keys are new here.
   */
  append(stream: StreamRow, fresh: SegmentColumns): void;
  /** Makes rows of all that is sealed behind `after` of this origin's log, and of what came later. */
  unseal(origin: OriginRow, streams: readonly StreamRow[], after: number): void;
  /** Inside a transaction: content for a damaged segment; of the same entries, at the same places. */
  restore(held: Held, rows: SegmentColumns, content: EncodedSegment): void;
  /** Takes a segment away, a damaged one too. Answers the keys that went. */
  remove(held: Held): readonly Run[];
}

/** Read at once: about a millisecond, for which an append waits. */
const rowsPerStep = 100;

export function createSealing(
  db: Database,
  tables: { names: Names; segments: Segments; writes: SegmentWrites },
): Sealing {
  const { names, segments } = tables;
  const { write, drop } = tables.writes;
  const oldestRows = db.prepare(
    `SELECT ${rowColumns} FROM entry WHERE stream = ? AND id > ? ORDER BY id LIMIT ?`,
  );
  const countRows = db.prepare(
    "SELECT count(*) AS rows FROM entry WHERE stream = ? AND id BETWEEN ? AND ?",
  );
  const deleteRows = db.prepare("DELETE FROM entry WHERE stream = ? AND id BETWEEN ? AND ?");
  const anyAlias = db.prepare("SELECT 1 FROM alias WHERE entry BETWEEN ? AND ? LIMIT 1");
  const sealAliases = db.prepare(
    `UPDATE alias SET segment = ? WHERE entry IN
       (SELECT id FROM entry WHERE stream = ? AND id BETWEEN ? AND ?)`,
  );
  const unsealAliases = db.prepare(
    "UPDATE alias SET segment = NULL WHERE entry BETWEEN ? AND ? AND segment = ?",
  );
  const deleteAliases = db.prepare("DELETE FROM alias WHERE entry BETWEEN ? AND ? AND segment = ?");
  const updateTimes = db.prepare("UPDATE segment SET from_ms = ?, to_ms = ? WHERE id = ?");
  const insertRow = db.prepare("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");

  let generation = 0;

  function* takeRows(
    stream: StreamRow,
    { entriesMax, bytesMax }: SealLimits,
  ): Generator<void, SealedRow[]> {
    const rows: SealedRow[] = [];
    let bytes = 0;
    while (rows.length < entriesMax && bytes < bytesMax) {
      const step = Math.min(rowsPerStep, entriesMax - rows.length);
      const before = rows.length;
      for (const row of oldestRows.iterate(stream.id, rows.at(-1)?.id ?? 0, step)) {
        const sealed = toSealedRow(row);
        rows.push(sealed);
        bytes += sealed.body.length;
        if (bytes >= bytesMax) break;
      }
      if (rows.length < before + step) break;
      yield;
    }
    return rows;
  }

  /** First the rows: on a full disk the segment takes the pages that they leave. */
  const takeAway = (stream: StreamRow, rows: SegmentColumns): void => {
    const [id, lastId] = idsOf(rows);
    if (anyAlias.get(id, lastId)) sealAliases.run(id, stream.id, id, lastId);
    deleteRows.run(stream.id, id, lastId);
    stream.bytes -= rowBytes(rows);
  };

  return {
    get generation() {
      return generation;
    },
    *packing(stream, limits) {
      const packedIn = generation;
      const rows = yield* takeRows(stream, limits);
      const [first, last] = [rows[0], rows.at(-1)];
      if (!first || !last || !limits.accept({ firstId: first.id, lastId: last.id }))
        return undefined;
      const columns = columnsOfRows(rows);
      return {
        stream: stream.id,
        rows: columns,
        content: encodeSegment(columns),
        generation: packedIn,
      };
    },

    seal({ stream: streamId, rows, content, generation: packedIn }) {
      const stream = names.streamById(streamId);
      const [id, lastId] = idsOf(rows);
      const left = countRows.get(streamId, id, lastId)?.["rows"];
      if (packedIn !== generation || left !== rows.ids.length) return 0;
      takeAway(stream, rows);
      write(stream, rows, content);
      names.writeCounters();
      return rows.ids.length;
    },

    append(stream, fresh) {
      const rows = columnsOfRows(oldestRows.all(stream.id, 0, -1).map(toSealedRow));
      const hasRows = rows.ids.length > 0;
      if (hasRows) takeAway(stream, rows);
      const all = hasRows ? joinColumns(rows, fresh) : fresh;
      write(stream, all, encodeSegment(all));
      stream.entries += fresh.ids.length;
    },

    unseal(origin, streams, after) {
      generation++;
      for (const stream of streams) {
        const pieces = [...segments.pieces(origin, [stream], after, Number.MAX_SAFE_INTEGER)];
        if (pieces.length === 0) continue;
        const first = Math.min(...pieces.map(({ segment }) => segment));
        for (const held of segments.heldFrom(stream, first)) {
          const segment = segments.open(held.id);
          drop(held, runsOf(segment));
          for (const index of segment.ids.keys()) {
            const { id, origin: from, sequence, key, atMs, body } = segment.row(index);
            const { producer = null, epoch = null, sequence: number = null } = key ?? {};
            insertRow.run(id, from, sequence, stream.id, producer, epoch, number, atMs, body);
          }
          unsealAliases.run(held.id, held.lastId, held.id);
          stream.bytes += rowBytes(segment) - held.bytes;
          stream.changed = true;
        }
      }
      segments.forget();
      names.writeCounters();
    },

    restore(held, rows, content) {
      // Of an entry that was accepted twice the copy may have another time.
      const { fromMs, toMs } = timesOf(rows);
      updateTimes.run(fromMs, toMs, held.id);
      segments.restore(held, content);
      segments.writePlan(held.id, { places: rows, sum: content.sum });
    },

    remove(held) {
      const runs = tables.writes.runsIn(held);
      drop(held, runs);
      deleteAliases.run(held.id, held.lastId, held.id);
      segments.removed(held);
      const stream = names.streamById(held.stream);
      stream.entries -= held.entries;
      stream.bytes -= held.bytes;
      stream.changed = true;
      return runs;
    },
  };
}

const rowBytes = ({ ids, bodies }: SegmentColumns) =>
  bodies.length + ids.length * entryOverheadBytes;

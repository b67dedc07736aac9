/**
 * Rows to segments and back. Each change runs inside one transaction, so that at every moment, after
 * a crash too, an entry is either a row or sealed (S2). What takes longest, reading and packing, is
 * done before: other writes go on between the two.
 */
import { crc32 } from "node:zlib";
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
import { SegmentDamaged } from "./segment-contents.ts";
import type { Held } from "./segment-directory.ts";
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
/** What a line in the directory costs, of a segment, a piece and a run, about. */
const lineBytes = 40;

export function createSealing(db: Database, tables: { names: Names; segments: Segments }): Sealing {
  const { names, segments } = tables;
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
  const insertSegment = db.prepare("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  const updateTimes = db.prepare("UPDATE segment SET from_ms = ?, to_ms = ? WHERE id = ?");
  const insertBytes = db.prepare("INSERT INTO segment_bytes VALUES (?, ?)");
  const insertPiece = db.prepare("INSERT INTO piece VALUES (?, ?, ?, ?, ?, ?, ?)");
  const insertRun = db.prepare("INSERT INTO run VALUES (?, ?, ?, ?, ?)");
  const deletes = ["segment WHERE id", "piece WHERE segment"].map((where) =>
    db.prepare(`DELETE FROM ${where} = ?`),
  );
  /** Looks through all runs: only for a segment that cannot tell. */
  const runsOfSegment = db.prepare(
    "SELECT producer, epoch, first, last FROM run WHERE segment = ?",
  );
  const deleteRun = db.prepare("DELETE FROM run WHERE producer = ? AND epoch = ? AND first = ?");
  const insertRow = db.prepare("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const nextPiece = db.prepare(
    `SELECT first_sequence FROM piece
     WHERE origin = ? AND stream = ? AND last_sequence >= ? ORDER BY last_sequence LIMIT 1`,
  );

  /** Changes with the positions of rows. */
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

  /** Cut wherever another piece of the same origin and stream lies between two positions. */
  const writePieces = (segment: number, stream: StreamRow, rows: SegmentColumns): number => {
    const { origins, sequences, ends } = rows;
    type Open = { origin: number; first: number; last: number; count: number; bytes: number };
    const openByOrigin = new Map<number, Open & { limit: number }>();
    let written = 0;
    const write = ({ origin, first, last, count, bytes }: Open) => {
      const counted = bytes + count * entryOverheadBytes;
      insertPiece.run(origin, stream.id, last, first, segment, count, counted);
      written++;
    };
    const limitAfter = (origin: number, sequence: number) =>
      Number(nextPiece.get(origin, stream.id, sequence)?.["first_sequence"] ?? Infinity);
    for (let index = 0; index < origins.length; index++) {
      const [origin, sequence] = [origins[index] as number, sequences[index] as number];
      let piece = openByOrigin.get(origin);
      if (!piece || sequence < piece.last || sequence > piece.limit) {
        if (piece) write(piece);
        const limit = limitAfter(origin, sequence);
        piece = { origin, first: sequence, last: sequence, count: 0, bytes: 0, limit };
        openByOrigin.set(origin, piece);
      }
      piece.last = sequence;
      piece.count++;
      piece.bytes += (ends[index] as number) - (ends[index - 1] ?? 0);
    }
    for (const piece of openByOrigin.values()) write(piece);
    return written;
  };

  /** A segment of these rows, none of which is in the table any more. */
  const write = (stream: StreamRow, rows: SegmentColumns, content: EncodedSegment): void => {
    const [id, lastId] = idsOf(rows);
    const runs = runsOf(rows);
    const pieces = writePieces(id, stream, rows);
    for (const { producer, epoch, first: from, last: to } of runs)
      insertRun.run(producer, epoch, from, to, id);
    const held: Held = {
      id,
      lastId,
      stream: stream.id,
      entries: rows.ids.length,
      bytes: content.bytes.length + lineBytes * (3 + pieces + runs.length),
      ...timesOf(rows),
    };
    const { entries, bytes, fromMs, toMs } = held;
    insertSegment.run(id, lastId, stream.id, entries, bytes, fromMs, toMs, crc32(content.bytes));
    insertBytes.run(id, content.bytes);
    segments.writePlan(id, { places: rows, sum: content.sum });
    segments.added(held, runs);
    stream.bytes += bytes;
    stream.changed = true;
  };
  /** First the rows: on a full disk the segment takes the pages that they leave. */
  const takeAway = (stream: StreamRow, rows: SegmentColumns): void => {
    const [id, lastId] = idsOf(rows);
    if (anyAlias.get(id, lastId)) sealAliases.run(id, stream.id, id, lastId);
    deleteRows.run(stream.id, id, lastId);
    stream.bytes -= rowBytes(rows);
  };

  const drop = (held: Held, runs: readonly Run[]) => {
    segments.delete(held.id);
    for (const statement of deletes) statement.run(held.id);
    for (const { producer, epoch, first } of runs) deleteRun.run(producer, epoch, first);
  };

  const runsIn = (held: Held): readonly Run[] => {
    try {
      return runsOf(segments.open(held.id));
    } catch (error) {
      if (!(error instanceof SegmentDamaged)) throw error;
      return runsOfSegment.all(held.id).map((row) => ({
        producer: Number(row["producer"]),
        epoch: Number(row["epoch"]),
        first: Number(row["first"]),
        last: Number(row["last"]),
      }));
    }
  };

  return {
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
      const runs = runsIn(held);
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

const idsOf = ({ ids }: SegmentColumns): [first: number, last: number] => [
  ids[0] ?? 0,
  ids.at(-1) ?? 0,
];

const rowBytes = ({ ids, bodies }: SegmentColumns) =>
  bodies.length + ids.length * entryOverheadBytes;

function timesOf({ times }: SegmentColumns): Pick<Held, "fromMs" | "toMs"> {
  let [fromMs, toMs] = [Infinity, -Infinity];
  for (const atMs of times) {
    if (atMs < fromMs) fromMs = atMs;
    if (atMs > toMs) toMs = atMs;
  }
  return { fromMs, toMs };
}

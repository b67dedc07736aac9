/** What there is of a segment in the tables, written and taken away: its content, its lines in the directory, its keys. Inside a transaction. */
import { crc32 } from "node:zlib";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { EncodedSegment, SegmentColumns } from "../batch/segment.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { StreamRow } from "./names.ts";
import { runsOf, type Run } from "./sealed-keys.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Held } from "./segment-directory.ts";
import type { Segments } from "./segments.ts";

export interface SegmentWrites {
  /** A segment of these rows, which stand nowhere else any more. */
  write(stream: StreamRow, rows: SegmentColumns, content: EncodedSegment): void;
  /** The keys of a segment, of a damaged one too. */
  runsIn(held: Held): readonly Run[];
  /** Takes a segment with these keys away. What is counted of its stream is the caller's. */
  drop(held: Held, runs: readonly Run[]): void;
}

/** What a line in the directory costs, of a segment, a piece and a run, about. */
const lineBytes = 40;

export function createSegmentWrites(db: Database, segments: Segments): SegmentWrites {
  const insertSegment = db.prepare("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
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
  const nextPiece = db.prepare(
    `SELECT first_sequence FROM piece
     WHERE origin = ? AND stream = ? AND last_sequence >= ? ORDER BY last_sequence LIMIT 1`,
  );

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

  return {
    write(stream, rows, content) {
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
    },

    runsIn(held) {
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
    },

    drop(held, runs) {
      segments.delete(held.id);
      for (const statement of deletes) statement.run(held.id);
      for (const { producer, epoch, first } of runs) deleteRun.run(producer, epoch, first);
    },
  };
}

export const idsOf = ({ ids }: SegmentColumns): [first: number, last: number] => [
  ids[0] ?? 0,
  ids.at(-1) ?? 0,
];

export function timesOf({ times }: SegmentColumns): Pick<Held, "fromMs" | "toMs"> {
  let [fromMs, toMs] = [Infinity, -Infinity];
  for (const atMs of times) {
    if (atMs < fromMs) fromMs = atMs;
    if (atMs > toMs) toMs = atMs;
  }
  return { fromMs, toMs };
}

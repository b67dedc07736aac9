/**
 * A piece of an origin's log straight out of segments, where nothing else lies between: no entry is
 * made of what was sealed in numbers and leaves in numbers.
 */
import type { EntryColumns } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { sliceColumns, type SegmentColumns } from "../batch/segment.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Piece } from "./segment-directory.ts";
import type { Segments } from "./segments.ts";

export type LogLimits = { readonly entriesMax: number; readonly bytesMax: number };

/**
 * What comes next from `from` on, of these streams, when it fills the limits, and is sealed, sound, and
 * of one stream; undefined where that is not known, or not so. `complete`: nothing comes behind it.
 */
export type LogColumns = (
  origin: OriginRow,
  streams: readonly StreamRow[],
  from: number,
  limits: LogLimits,
) => { readonly columns: EntryColumns; readonly complete: boolean } | undefined;

export function createLogColumns(
  db: Database,
  { names, segments }: { names: Names; segments: Segments },
): LogColumns {
  const nextOf = ["entry", "alias"].map((table) =>
    db.prepare(
      `SELECT sequence FROM ${table} WHERE origin = ? AND sequence >= ? ORDER BY sequence LIMIT 1`,
    ),
  );

  /** Of a piece, what stands at `from` and behind it; undefined when others stand between its entries. */
  const cutOf = (piece: Piece, from: number, limits: LogLimits): SegmentColumns | undefined => {
    const segment = openSound(piece.segment);
    if (!segment) return undefined;
    const { origins, sequences, ends } = segment;
    const start = sequences.findIndex(
      (sequence, index) => sequence === piece.firstSequence && origins[index] === piece.origin,
    );
    const end = start + piece.entries;
    if (start < 0 || sequences[end - 1] !== piece.lastSequence) return undefined;
    for (let index = start; index < end; index++)
      if (origins[index] !== piece.origin) return undefined;
    let first = start;
    while ((sequences[first] as number) < from) first++;
    const bytesBefore = ends[first - 1] ?? 0;
    let last = first;
    while (
      last + 1 < end &&
      last + 1 - first < limits.entriesMax &&
      (ends[last] as number) - bytesBefore < limits.bytesMax
    )
      last++;
    return sliceColumns(segment, first, last + 1);
  };
  const openSound = (segment: number) => {
    try {
      return segments.open(segment);
    } catch (error) {
      if (error instanceof SegmentDamaged) return undefined;
      throw error;
    }
  };

  return (origin, streams, from, { entriesMax, bytesMax }) => {
    /** From here on there may be rows. */
    const limit = Math.min(
      ...nextOf.map((next) => Number(next.get(origin.id, from)?.["sequence"] ?? Infinity)),
    );
    const pieceAt = (stream: StreamRow, at: number) =>
      segments.toId(stream) === 0 ? undefined : segments.pieceAt(origin, stream, at);
    const heads = streams.flatMap((stream) => {
      const piece = pieceAt(stream, from);
      return piece ? [{ stream, piece }] : [];
    });
    heads.sort((a, b) => a.piece.firstSequence - b.piece.firstSequence);
    const [head, other] = heads;
    if (!head) return undefined;
    const end = Math.min(limit, other?.piece.firstSequence ?? Infinity);
    const found: SegmentColumns[] = [];
    let [entries, bytes, isWhole] = [0, 0, true];
    let piece: Piece | undefined = head.piece;
    while (piece && piece.lastSequence < end && entries < entriesMax && bytes < bytesMax) {
      const left = { entriesMax: entriesMax - entries, bytesMax: bytesMax - bytes };
      const cut = cutOf(piece, from, left);
      if (!cut) break;
      found.push(cut);
      entries += cut.ids.length;
      bytes += cut.bodies.length;
      isWhole = cut.sequences.at(-1) === piece.lastSequence;
      piece = pieceAt(head.stream, piece.lastSequence + 1);
    }
    if (entries < entriesMax && bytes < bytesMax) return undefined;
    return {
      columns: joined(names, head.stream, found),
      complete: isWhole && !piece && !other && limit === Infinity,
    };
  };
}

function joined(names: Names, stream: StreamRow, found: readonly SegmentColumns[]): EntryColumns {
  const all = (of: (columns: SegmentColumns) => readonly number[]): readonly number[] =>
    found.length === 1 ? of(found[0] as SegmentColumns) : found.flatMap(of);
  const numbers: number[] = [];
  const indexByNumber = new Map<number, number>();
  const indexOf = (producer: number): number => {
    let index = indexByNumber.get(producer);
    if (index === undefined) {
      index = numbers.push(producer) - 1;
      indexByNumber.set(producer, index);
    }
    return index;
  };
  const producer = all(({ producers }) => producers).map((number) =>
    number < 0 ? -1 : indexOf(number),
  );
  let start = 0;
  const end = found.flatMap(({ ends, bodies }) => {
    const before = start;
    start += bodies.length;
    return before === 0 ? ends : ends.map((bodyEnd) => before + bodyEnd);
  });
  return {
    streams: [stream.name],
    stream: producer.map(() => 0),
    producers: numbers.map((number) => names.producerById(number)),
    producer,
    epoch: all(({ epochs }) => epochs),
    sequence: all(({ keySequences }) => keySequences),
    atMs: all(({ times }) => times),
    position: all(({ sequences }) => sequences),
    end,
    bodies:
      found.length === 1
        ? (found[0] as SegmentColumns).bodies
        : Buffer.concat(found.map(({ bodies }) => bodies)),
  };
}

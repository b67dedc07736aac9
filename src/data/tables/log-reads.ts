/** Reading an origin's log by position: rows, sealed entries, and aliases of entries that stand elsewhere. */
import type { EntryColumns } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SegmentColumns } from "../batch/segment.ts";
import { createLogBuilder, mergeLog, type LogLimits, type LogSource } from "./log-merge.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { rowColumns, toSealedRow } from "./rows.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Piece } from "./segment-directory.ts";
import type { Segments } from "./segments.ts";

/** Of these streams, aliases included. Throws `segment-damaged` when it begins with one. */
export type ReadLog = (
  origin: OriginRow,
  streams: readonly StreamRow[],
  from: number,
  limits: LogLimits,
) => { readonly columns: EntryColumns; readonly complete: boolean };

type Rows = Iterator<Record<string, unknown>>;

export function createLogReads(
  db: Database,
  { names, segments }: { names: Names; segments: Segments },
): ReadLog {
  const rowsFrom = db.prepare(
    `SELECT ${rowColumns} FROM entry WHERE origin = ? AND sequence >= ? ORDER BY sequence LIMIT ?`,
  );
  const aliasesFrom = db.prepare(
    `SELECT a.sequence AS alias_sequence, a.segment, a.entry, e.*
     FROM alias a LEFT JOIN entry e ON e.id = a.entry
     WHERE a.origin = ? AND a.sequence >= ? ORDER BY a.sequence LIMIT ?`,
  );

  const rowSource = (rows: Rows, wanted: ReadonlySet<number>): LogSource => {
    const next = () => {
      for (let { done, value } = rows.next(); !done; { done, value } = rows.next())
        if (wanted.has(value["stream"] as number)) return value;
      return undefined;
    };
    let row = next();
    return {
      get head() {
        return row ? (row["sequence"] as number) : Infinity;
      },
      take(_end, into) {
        if (row) into.addRow(names.streamById(row["stream"] as number), toSealedRow(row));
        row = next();
      },
    };
  };

  const aliasSource = (rows: Rows, wanted: ReadonlySet<number>): LogSource => {
    let { done, value } = rows.next();
    return {
      get head() {
        return done ? Infinity : (value["alias_sequence"] as number);
      },
      take(_end, into) {
        const sequence = value["alias_sequence"] as number;
        const held =
          value["segment"] === null ? undefined : segments.held(value["segment"] as number);
        const stream = names.streamById(held ? held.stream : (value["stream"] as number));
        if (wanted.has(stream.id)) {
          const row = held ? segments.rowById(held, value["entry"] as number) : toSealedRow(value);
          into.addRow(stream, { ...row, sequence });
        }
        ({ done, value } = rows.next());
      },
    };
  };

  const sealedSource = (origin: OriginRow, stream: StreamRow, from: number): LogSource => {
    let piece: Piece | undefined;
    let head = Infinity;
    /** Once it was reached. */
    let opened: { readonly segment: SegmentColumns; next: number } | undefined;
    const begin = (at: number) => {
      piece = segments.pieceAt(origin, stream, at);
      head = piece ? Math.max(at, piece.firstSequence) : Infinity;
      opened = undefined;
    };
    begin(from);
    const isOfPiece = ({ origins, sequences }: SegmentColumns, index: number, of: Piece) => {
      const sequence = sequences[index] as number;
      return origins[index] === of.origin && sequence >= head && sequence <= of.lastSequence;
    };
    return {
      get head() {
        return head;
      },
      take(end, into) {
        if (!piece) return;
        if (!opened) {
          const segment = segments.openPiece(piece);
          if (!segment) return begin(piece.lastSequence + 1);
          opened = { segment, next: 0 };
        }
        const { segment } = opened;
        const { sequences } = segment;
        const least = head;
        for (let index = opened.next; index < sequences.length; index++) {
          if (!isOfPiece(segment, index, piece)) continue;
          const sequence = sequences[index] as number;
          opened.next = index;
          head = sequence;
          if ((sequence >= end && sequence > least) || into.isFull) return;
          into.addSealed(stream, segment, index);
        }
        begin(piece.lastSequence + 1);
      },
    };
  };

  return (origin, streams, from, limits) => {
    const wanted = new Set(streams.map(({ id }) => id));
    // Rows come as they are asked for; without a filter SQLite is told where it may end.
    const rowsMax = streams.length === names.streams().length ? limits.entriesMax + 1 : -1;
    const builder = createLogBuilder(names, limits);
    const rows = rowsFrom.iterate(origin.id, from, rowsMax);
    const aliases = aliasesFrom.iterate(origin.id, from, rowsMax);
    const sources = () => [
      rowSource(rows, wanted),
      aliasSource(aliases, wanted),
      ...streams
        .filter((stream) => segments.toId(stream) > 0)
        .map((stream) => sealedSource(origin, stream, from)),
    ];
    const isDamage = (error: unknown) => error instanceof SegmentDamaged;
    try {
      const { complete } = mergeLog(sources(), builder, isDamage);
      return { columns: builder.columns(), complete };
    } finally {
      // A statement that is not at its end holds the file as it was.
      for (const found of [rows, aliases]) found.return?.();
    }
  };
}

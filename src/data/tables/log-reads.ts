/** Reading an origin's log by position: rows, sealed entries, and aliases of entries that stand elsewhere. */
import type { EntryColumns } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SealedRow, SegmentColumns } from "../batch/segment.ts";
import { createLogBuilder, mergeLog, type LogLimits, type LogSource } from "./log-merge.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { rowColumns, toSealedRow } from "./rows.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Held, Piece } from "./segment-directory.ts";
import type { Segments } from "./segments.ts";

/** Positions, both inclusive. */
export type LogRange = { readonly from: number; readonly to?: number };

/**
 * What a damaged segment is to a reader: the end of what it gets, and an error where it begins with one;
 * an error wherever it is; or nothing.
 */
export type MeetsDamage = "end" | "error" | "gap";

/**
 * Of these streams, aliases included; `complete`: nothing is left in the range. Throws `segment-damaged`.
 * What was given up is never in it.
 */
export type ReadLog = (
  origin: OriginRow,
  streams: readonly StreamRow[],
  range: LogRange,
  limits: LogLimits,
  damage: MeetsDamage,
) => { readonly columns: EntryColumns; readonly complete: boolean };

type Rows = Iterator<Record<string, unknown>>;

export function createLogReads(
  db: Database,
  { names, segments }: { names: Names; segments: Segments },
): ReadLog {
  const rowsFrom = db.prepare(
    `SELECT ${rowColumns} FROM entry
     WHERE origin = ? AND sequence >= ? AND sequence <= ? ORDER BY sequence LIMIT ?`,
  );
  const aliasesFrom = db.prepare(
    `SELECT a.sequence AS alias_sequence, a.segment, a.entry, e.*
     FROM alias a LEFT JOIN entry e ON e.id = a.entry
     WHERE a.origin = ? AND a.sequence >= ? AND a.sequence <= ? ORDER BY a.sequence LIMIT ?`,
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

  const aliasSource = (
    rows: Rows,
    wanted: ReadonlySet<number>,
    rowOf: (held: Held, id: number) => SealedRow | undefined,
  ): LogSource => {
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
          const row = held ? rowOf(held, value["entry"] as number) : toSealedRow(value);
          if (row) into.addRow(stream, { ...row, sequence });
        }
        ({ done, value } = rows.next());
      },
    };
  };

  const sealedSource = (
    origin: OriginRow,
    stream: StreamRow,
    from: number,
    openPiece: (piece: Piece) => SegmentColumns | undefined,
  ): LogSource => {
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
          const segment = openPiece(piece);
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

  const isDamage = (error: unknown) => error instanceof SegmentDamaged;
  const unlessDamaged = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  };

  return (origin, streams, { from, to = Number.MAX_SAFE_INTEGER }, limits, damage) => {
    const passOver = damage === "gap";
    const openPiece = (piece: Piece) =>
      passOver ? unlessDamaged(() => segments.openPiece(piece)) : segments.openPiece(piece);
    const rowOf = (held: Held, id: number) =>
      passOver ? unlessDamaged(() => segments.rowById(held, id)) : segments.rowById(held, id);
    const wanted = new Set(streams.map(({ id }) => id));
    // Rows come as they are asked for; without a filter SQLite is told where it may end.
    const rowsMax = streams.length === names.streams().length ? limits.entriesMax + 1 : -1;
    const builder = createLogBuilder(names, limits);
    const rows = rowsFrom.iterate(origin.id, from, to, rowsMax);
    const aliases = aliasesFrom.iterate(origin.id, from, to, rowsMax);
    const sources = () => [
      rowSource(rows, wanted),
      aliasSource(aliases, wanted, rowOf),
      ...streams
        .filter((stream) => segments.toId(stream) > 0)
        .map((stream) => sealedSource(origin, stream, from, openPiece)),
    ];
    try {
      const endsAt = (error: unknown) => damage === "end" && isDamage(error);
      const { complete } = mergeLog(sources(), builder, { to, endsAt });
      return { columns: builder.columns(), complete };
    } finally {
      // A statement that is not at its end holds the file as it was.
      for (const found of [rows, aliases]) found.return?.();
    }
  };
}

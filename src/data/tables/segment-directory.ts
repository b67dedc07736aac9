/**
 * The directory of sealed segments: what is known of each without looking into it, read from its
 * tables. What each stream has sealed in all is kept in memory, counted when somebody asks: a query
 * opens a directory of its own, and what it costs must not grow with what is stored.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { OriginRow, StreamRow } from "./names.ts";

/** A line of the directory: what is known of a segment without looking into it. */
export type Held = {
  /** Of its first entry. */
  readonly id: number;
  readonly lastId: number;
  readonly stream: number;
  readonly entries: number;
  /** On disk, with its lines in the directory. */
  readonly bytes: number;
  readonly fromMs: number;
  readonly toMs: number;
};

/** The entries of one origin in a segment: no other piece of this origin and stream overlaps it. */
export type Piece = {
  readonly segment: number;
  readonly origin: number;
  readonly stream: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly entries: number;
  /** As the backlog counts. */
  readonly bytes: number;
};

export type Sealed = { readonly toId: number; readonly entries: number; readonly bytes: number };

/** `toId`: nothing of the time ends behind `id` and up to it, but for what `held` has. */
export type Look = { readonly held: Held | undefined; readonly toId: number };

export interface SegmentDirectory {
  sealed(stream: StreamRow): Sealed;
  /** As `sealed` has it; nothing is counted. */
  toId(stream: StreamRow): number;
  /** Throws `internal` for a segment that is not there. */
  held(segment: number): Held;
  /** The first that ends behind this id. */
  after(stream: StreamRow, id: number): Held | undefined;
  /** The first of these times that ends behind this id, looked for in `segmentsPerLook` at most. */
  inTime(stream: StreamRow, id: number, time: { fromMs: number; toMs: number }): Look;
  /** The last that ends before this id. */
  before(stream: StreamRow, id: number): Held | undefined;
  /** From this id on, ascending. */
  heldFrom(stream: StreamRow, id: number): readonly Held[];
  /** In segments that begin behind this id. */
  entriesAfter(stream: StreamRow, id: number): number;
  piecesOf(held: Held): readonly Piece[];
  /** The first that ends at this position or behind it. */
  pieceAt(origin: OriginRow, stream: StreamRow, from: number): Piece | undefined;
  /** The next behind this id, of any stream. */
  nextId(id: number): number | undefined;
  readonly oldestId: number | undefined;
  readonly lastId: number;
  /** Inside a transaction that added it. */
  added(held: Held): void;
  /** Inside a transaction that took it away. */
  removed(held: Held): void;
  /** Reads anew what is kept in memory. */
  forget(): void;
}

/** A look takes some 0.2 ms. */
const segmentsPerLook = 1000;

type Sums = { readonly entries: number; readonly bytes: number };
const nothing: Sums = { entries: 0, bytes: 0 };

export function createSegmentDirectory(db: Database): SegmentDirectory {
  const heldColumns = "id, last_id, stream, entries, bytes, from_ms, to_ms";
  const heldAfter = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id > ? ORDER BY last_id LIMIT 1`,
  );
  const lookEnd = db.prepare(
    "SELECT last_id FROM segment WHERE stream = ? AND last_id > ? ORDER BY last_id LIMIT 1 OFFSET ?",
  );
  const heldInTime = db.prepare(
    `SELECT ${heldColumns} FROM segment
     WHERE stream = ? AND last_id > ? AND last_id <= ? AND to_ms >= ? AND from_ms < ?
     ORDER BY last_id LIMIT 1`,
  );
  const heldBefore = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id < ? ORDER BY last_id DESC LIMIT 1`,
  );
  const heldById = db.prepare(`SELECT ${heldColumns} FROM segment WHERE id = ?`);
  const heldAllFrom = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id >= ? ORDER BY last_id`,
  );
  const next = db.prepare("SELECT id FROM segment WHERE id > ? ORDER BY id LIMIT 1");
  const entriesAfter = db.prepare(
    "SELECT sum(entries) AS entries FROM segment WHERE stream = ? AND id > ?",
  );
  const pieceColumns = "segment, origin, stream, first_sequence, last_sequence, entries, bytes";
  const pieceFrom = db.prepare(
    `SELECT ${pieceColumns} FROM piece
     WHERE origin = ? AND stream = ? AND last_sequence >= ? ORDER BY last_sequence LIMIT 1`,
  );
  const piecesOfSegment = db.prepare(`SELECT ${pieceColumns} FROM piece WHERE segment = ?`);
  // From one stream to the next along the index, and not through all segments.
  const streamEnds = db.prepare(
    `WITH RECURSIVE held(stream) AS (
       SELECT min(stream) FROM segment UNION ALL
       SELECT (SELECT min(stream) FROM segment WHERE stream > held.stream) FROM held
       WHERE held.stream IS NOT NULL)
     SELECT stream, (SELECT max(last_id) FROM segment WHERE segment.stream = held.stream) AS to_id
     FROM held WHERE stream IS NOT NULL`,
  );
  const streamSums = db.prepare(
    "SELECT stream, sum(entries) AS entries, sum(bytes) AS bytes FROM segment GROUP BY stream",
  );
  const endsByStream = new Map<number, number>();
  let sumsByStream: Map<number, Sums> | undefined;
  const load = () => {
    sumsByStream = undefined;
    endsByStream.clear();
    for (const row of streamEnds.all())
      endsByStream.set(Number(row["stream"]), Number(row["to_id"]));
  };
  load();
  const sumsOf = (stream: number): Sums => {
    sumsByStream ??= new Map(
      streamSums
        .all()
        .map((row) => [
          Number(row["stream"]),
          { entries: Number(row["entries"]), bytes: Number(row["bytes"]) },
        ]),
    );
    return sumsByStream.get(stream) ?? nothing;
  };
  const toId = (stream: StreamRow) => endsByStream.get(stream.id) ?? 0;
  /** Not counted yet: it will be, with what changed now. */
  const changeSums = ({ stream, entries, bytes }: Held, sign: 1 | -1) => {
    if (!sumsByStream) return;
    const before = sumsOf(stream);
    sumsByStream.set(stream, {
      entries: before.entries + sign * entries,
      bytes: before.bytes + sign * bytes,
    });
  };

  const heldOf = (row: Record<string, unknown> | undefined) => row && toHeld(row);
  return {
    sealed: (stream) => ({ toId: toId(stream), ...sumsOf(stream.id) }),
    toId,
    held(id) {
      const row = heldById.get(id);
      if (row) return toHeld(row);
      throw new SkerryError({ code: "internal", message: `there is no segment ${id}` });
    },
    after: (stream, id) =>
      endsByStream.has(stream.id) ? heldOf(heldAfter.get(stream.id, id)) : undefined,
    inTime(stream, id, { fromMs, toMs }) {
      const next = heldOf(heldAfter.get(stream.id, id));
      if (next && next.toMs >= fromMs && next.fromMs < toMs)
        return { held: next, toId: next.lastId };
      const end = lookEnd.get(stream.id, id, segmentsPerLook - 1);
      const lookTo = end ? Number(end["last_id"]) : Math.max(id, toId(stream));
      const held = heldOf(heldInTime.get(stream.id, id, lookTo, fromMs, toMs));
      return { held, toId: held?.lastId ?? lookTo };
    },
    before: (stream, id) => heldOf(heldBefore.get(stream.id, id)),
    heldFrom: (stream, id) => heldAllFrom.all(stream.id, id).map(toHeld),
    entriesAfter: (stream, id) => Number(entriesAfter.get(stream.id, id)?.["entries"] ?? 0),
    piecesOf: (held) => piecesOfSegment.all(held.id).map(toPiece),
    pieceAt(origin, stream, from) {
      const row = pieceFrom.get(origin.id, stream.id, from);
      return row && toPiece(row);
    },
    nextId(id) {
      const row = next.get(id);
      return row && Number(row["id"]);
    },
    get oldestId() {
      const row = db.prepare("SELECT min(id) AS id FROM segment").get();
      return row?.["id"] === null ? undefined : Number(row?.["id"]);
    },
    get lastId() {
      return Math.max(0, ...endsByStream.values());
    },
    added(held) {
      endsByStream.set(held.stream, Math.max(endsByStream.get(held.stream) ?? 0, held.lastId));
      changeSums(held, 1);
    },
    removed: (held) => changeSums(held, -1),
    forget: load,
  };
}

function toHeld(row: Record<string, unknown>): Held {
  return {
    id: Number(row["id"]),
    lastId: Number(row["last_id"]),
    stream: Number(row["stream"]),
    entries: Number(row["entries"]),
    bytes: Number(row["bytes"]),
    fromMs: Number(row["from_ms"]),
    toMs: Number(row["to_ms"]),
  };
}

function toPiece(row: Record<string, unknown>): Piece {
  return {
    segment: Number(row["segment"]),
    origin: Number(row["origin"]),
    stream: Number(row["stream"]),
    firstSequence: Number(row["first_sequence"]),
    lastSequence: Number(row["last_sequence"]),
    entries: Number(row["entries"]),
    bytes: Number(row["bytes"]),
  };
}

/**
 * The directory of sealed segments: what is known of each without looking into it, read from its
 * tables. What each stream has sealed in all is kept in memory.
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

export interface SegmentDirectory {
  sealed(stream: StreamRow): Sealed;
  /** Throws `internal` for a segment that is not there. */
  held(segment: number): Held;
  /** The first that ends behind this id. */
  after(stream: StreamRow, id: number): Held | undefined;
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

const nothing: Sealed = { toId: 0, entries: 0, bytes: 0 };

export function createSegmentDirectory(db: Database): SegmentDirectory {
  const heldColumns = "id, last_id, stream, entries, bytes, from_ms, to_ms";
  const heldAfter = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id > ? ORDER BY last_id LIMIT 1`,
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
  const summaries = db.prepare(
    `SELECT stream, max(last_id) AS to_id, sum(entries) AS entries, sum(bytes) AS bytes
     FROM segment GROUP BY stream`,
  );
  let sealedByStream = new Map<number, Sealed>();
  const load = () => {
    sealedByStream = new Map(
      summaries.all().map((row) => [
        Number(row["stream"]),
        {
          toId: Number(row["to_id"]),
          entries: Number(row["entries"]),
          bytes: Number(row["bytes"]),
        },
      ]),
    );
  };
  load();

  const heldOf = (row: Record<string, unknown> | undefined) => row && toHeld(row);
  return {
    sealed: (stream) => sealedByStream.get(stream.id) ?? nothing,
    held(id) {
      const row = heldById.get(id);
      if (row) return toHeld(row);
      throw new SkerryError({ code: "internal", message: `there is no segment ${id}` });
    },
    after: (stream, id) =>
      sealedByStream.has(stream.id) ? heldOf(heldAfter.get(stream.id, id)) : undefined,
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
      return Math.max(0, ...[...sealedByStream.values()].map(({ toId }) => toId));
    },
    added(held) {
      const { entries, bytes } = sealedByStream.get(held.stream) ?? nothing;
      sealedByStream.set(held.stream, {
        toId: held.lastId,
        entries: entries + held.entries,
        bytes: bytes + held.bytes,
      });
    },
    removed(held) {
      const { toId, entries, bytes } = sealedByStream.get(held.stream) ?? nothing;
      sealedByStream.set(held.stream, {
        toId,
        entries: entries - held.entries,
        bytes: bytes - held.bytes,
      });
    },
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

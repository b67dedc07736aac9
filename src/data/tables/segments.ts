/**
 * Sealed entries: the older part of each stream, a thousand entries to a compressed segment with a
 * checksum. Within a stream everything sealed has smaller ids than everything that is still a row
 * (S1). This file reads; `sealing.ts` writes. What is found damaged is named (`segment-damaged`) and
 * never passed over (S3).
 */
import { crc32 } from "node:zlib";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { decodeSegment, type SealedRow, type Segment } from "../batch/segment.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { createOpenedSegments } from "./opened-segments.ts";
import { createSealedKeys, type Run } from "./sealed-keys.ts";

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

/** What may still be looked through in one call; a reader that finds nothing ends all the same. */
export type Scan = { left: number; toId: number };

/** A step through a log: the next position at or behind which there is an entry, or the entry. */
export type LogStep = { readonly sequence: number; readonly row?: SealedRow };

export interface Segments {
  sealed(stream: StreamRow): Sealed;
  /** Ascending, within the time; counts down `scan.left`, and notes in `scan.toId` how far it looked. */
  rows(
    stream: StreamRow,
    afterId: number,
    time: { fromMs: number; toMs: number },
    scan: Scan,
  ): Generator<SealedRow>;
  countAfter(stream: StreamRow, id: number): number;
  /** Ids of the newest, descending. */
  newestIds(stream: StreamRow, count: number): readonly number[];
  /** One origin's entries of this stream, by position; nothing is unpacked before it is reached. */
  log(origin: OriginRow, stream: StreamRow, from: number): Generator<LogStep>;
  /** Pieces of the positions `after < position <= to`, of all streams of the origin's scope. */
  pieces(
    origin: OriginRow,
    streams: readonly StreamRow[],
    after: number,
    to: number,
  ): Generator<Piece>;
  /** What of a piece has `after < position <= to`; of a damaged one, all. Bytes as the backlog counts. */
  countIn(piece: Piece, after: number, to: number): { entries: number; bytes: number };
  /** The segment that holds this key. */
  findKey(producer: number, epoch: number, sequence: number): number | undefined;
  rowByKey(
    segment: number,
    producer: number,
    epoch: number,
    sequence: number,
  ): SealedRow | undefined;
  rowById(held: Held, id: number): SealedRow;
  /** Throws `internal` for a segment that is not there. */
  held(segment: number): Held;
  oldest(stream: StreamRow): Held | undefined;
  /** From this one on, ascending. */
  heldFrom(stream: StreamRow, id: number): readonly Held[];
  piecesOf(held: Held): readonly Piece[];
  /** Throws `segment-damaged`. */
  open(segment: number): Segment;
  readonly oldestId: number | undefined;
  readonly lastId: number;
  /** Found damaged since the store was opened. */
  damaged(): readonly SegmentDamaged[];
  /** Inside a transaction that added a segment with these keys. */
  added(held: Held, runs: readonly Run[]): void;
  /** Inside a transaction that took a segment away. */
  removed(held: Held): void;
  /** Reads anew what is kept in memory: after a rollback, or when entries became rows again. */
  forget(): void;
}

export class SegmentDamaged extends SkerryError {
  readonly held: Held;
  readonly stream: string;
  constructor(held: Held, where: { stream: string; positions: string }, cause: unknown) {
    const times = [held.fromMs, held.toMs].map((ms) => new Date(ms).toISOString()).join(" to ");
    super({
      code: "segment-damaged",
      message: `stream ${where.stream}: ${held.entries} entries of ${times} (${where.positions}) are damaged on this node's disk`,
      hint: "check the disk; other nodes and the hub hold copies of what they acknowledged",
      cause,
    });
    this.held = held;
    this.stream = where.stream;
  }
}

const cacheBytesMax = 4 * 1024 * 1024;
/** What passing over a segment by its directory line counts as looking through. */
const skipCost = 10;

export function createSegments(db: Database, names: Names): Segments {
  const heldColumns = "id, last_id, stream, entries, bytes, from_ms, to_ms";
  const heldAfter = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id > ? ORDER BY last_id LIMIT 1`,
  );
  const entriesAfter = db.prepare(
    "SELECT sum(entries) AS entries FROM segment WHERE stream = ? AND id > ?",
  );
  const heldBefore = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id < ? ORDER BY last_id DESC LIMIT 1`,
  );
  const heldById = db.prepare(`SELECT ${heldColumns} FROM segment WHERE id = ?`);
  const heldAllFrom = db.prepare(
    `SELECT ${heldColumns} FROM segment WHERE stream = ? AND last_id >= ? ORDER BY last_id`,
  );
  const bytesOf = db.prepare(
    "SELECT s.crc, b.bytes FROM segment s JOIN segment_bytes b ON b.id = s.id WHERE s.id = ?",
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
  const keys = createSealedKeys(db);
  const opened = createOpenedSegments(cacheBytesMax);
  const nothing: Sealed = { toId: 0, entries: 0, bytes: 0 };

  let sealedByStream = new Map<number, Sealed>();
  const damagedById = new Map<number, SegmentDamaged>();

  const load = () => {
    opened.clear();
    keys.forget();
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

  const damage = (held: Held, cause: unknown): SegmentDamaged => {
    const positions = piecesOf(held)
      .map(
        ({ origin, firstSequence, lastSequence }) =>
          `${names.originById(origin).name} ${firstSequence}-${lastSequence}`,
      )
      .join(", ");
    const { name } = names.streamById(held.stream);
    const error = new SegmentDamaged(held, { stream: name, positions }, cause);
    damagedById.set(held.id, error);
    return error;
  };

  const heldOf = (id: number): Held => {
    const row = heldById.get(id);
    if (row) return toHeld(row);
    throw new SkerryError({ code: "internal", message: `there is no segment ${id}` });
  };

  /** Throws `segment-damaged`. */
  const open = (id: number): Segment =>
    opened.get(id, () => {
      const held = heldOf(id);
      const found = bytesOf.get(id);
      const bytes = found?.["bytes"] as Uint8Array | undefined;
      try {
        if (!bytes || crc32(bytes) !== Number(found?.["crc"])) throw new Error("wrong checksum");
        const segment = decodeSegment(bytes);
        if (segment.ids.length !== held.entries) throw new Error("wrong number of entries");
        return segment;
      } catch (cause) {
        throw damage(held, cause);
      }
    });

  const piecesOf = (held: Held): readonly Piece[] => piecesOfSegment.all(held.id).map(toPiece);

  const rowsOf = (
    { segment: id, origin, firstSequence, lastSequence }: Piece,
    after: number,
    to: number,
  ) => {
    const segment = open(id);
    const [low, high] = [Math.max(after + 1, firstSequence), Math.min(to, lastSequence)];
    return rowsFrom(segment, 0).filter(
      (row) => row.origin === origin && row.sequence >= low && row.sequence <= high,
    );
  };

  const pieceAt = (origin: OriginRow, stream: StreamRow, from: number): Piece | undefined => {
    const row = pieceFrom.get(origin.id, stream.id, from);
    return row && toPiece(row);
  };

  return {
    sealed: (stream) => sealedByStream.get(stream.id) ?? nothing,

    *rows(stream, afterId, { fromMs, toMs }, scan) {
      scan.toId = afterId;
      const end = sealedByStream.get(stream.id)?.toId ?? 0;
      while (scan.toId < end) {
        if (scan.left <= 0) return;
        const row = heldAfter.get(stream.id, scan.toId);
        if (!row) break;
        const held = toHeld(row);
        if (held.fromMs < toMs && held.toMs >= fromMs) {
          const segment = open(held.id);
          const first = firstAbove(segment.ids, scan.toId);
          for (const sealed of rowsFrom(segment, first)) {
            scan.toId = sealed.id;
            if (sealed.atMs >= fromMs && sealed.atMs < toMs) yield sealed;
          }
          scan.left -= segment.ids.length - first;
        } else scan.left -= skipCost;
        scan.toId = held.lastId;
      }
      scan.toId = Number.POSITIVE_INFINITY;
    },

    countAfter(stream, id) {
      const whole = Number(entriesAfter.get(stream.id, id)?.["entries"] ?? 0);
      const row = heldAfter.get(stream.id, id);
      const first = row && toHeld(row);
      if (!first || first.id > id) return whole;
      const { ids } = open(first.id);
      return whole + ids.length - firstAbove(ids, id);
    },

    newestIds(stream, count) {
      const ids: number[] = [];
      let before = Number.MAX_SAFE_INTEGER;
      while (ids.length < count) {
        const row = heldBefore.get(stream.id, before);
        if (!row) break;
        ids.push(
          ...open(Number(row["id"]))
            .ids.slice(ids.length - count)
            .toReversed(),
        );
        before = Number(row["last_id"]);
      }
      return ids;
    },

    *log(origin, stream, from) {
      for (let next = from; ;) {
        const piece = pieceAt(origin, stream, next);
        if (!piece) return;
        yield { sequence: Math.max(next, piece.firstSequence) };
        for (const row of rowsOf(piece, next - 1, piece.lastSequence))
          yield { sequence: row.sequence, row };
        next = piece.lastSequence + 1;
      }
    },

    *pieces(origin, streams, after, to) {
      for (const stream of streams) {
        if (!sealedByStream.has(stream.id)) continue;
        for (let next = after + 1; ;) {
          const piece = pieceAt(origin, stream, next);
          if (!piece || piece.firstSequence > to) break;
          yield piece;
          next = piece.lastSequence + 1;
        }
      }
    },
    countIn(piece, after, to) {
      const { firstSequence, lastSequence, entries, bytes } = piece;
      if (firstSequence > after && lastSequence <= to) return { entries, bytes };
      try {
        const rows = rowsOf(piece, after, to);
        const bodies = rows.reduce((sum, { body }) => sum + body.length, 0);
        return { entries: rows.length, bytes: bodies + rows.length * entryOverheadBytes };
      } catch (error) {
        if (error instanceof SegmentDamaged) return { entries, bytes };
        throw error;
      }
    },

    findKey: keys.find,
    rowByKey(id, producer, epoch, sequence) {
      return rowsFrom(open(id), 0).find(
        ({ key }) => key?.sequence === sequence && key.producer === producer && key.epoch === epoch,
      );
    },
    rowById(held, id) {
      const segment = open(held.id);
      const row = segment.row(firstAbove(segment.ids, id - 1));
      if (row.id === id) return row;
      throw new SkerryError({ code: "internal", message: `segment ${held.id} has no entry ${id}` });
    },
    held: heldOf,

    oldest(stream) {
      const row = sealedByStream.has(stream.id) ? heldAfter.get(stream.id, 0) : undefined;
      return row && toHeld(row);
    },
    heldFrom: (stream, id) => heldAllFrom.all(stream.id, id).map(toHeld),
    piecesOf,
    open,
    get oldestId() {
      const row = db.prepare("SELECT min(id) AS id FROM segment").get();
      return row?.["id"] === null ? undefined : Number(row?.["id"]);
    },
    get lastId() {
      return Math.max(0, ...[...sealedByStream.values()].map(({ toId }) => toId));
    },
    damaged: () => [...damagedById.values()],
    added(held, runs) {
      const { entries, bytes } = sealedByStream.get(held.stream) ?? nothing;
      sealedByStream.set(held.stream, {
        toId: held.lastId,
        entries: entries + held.entries,
        bytes: bytes + held.bytes,
      });
      keys.added(runs);
    },
    removed(held) {
      const { toId, entries, bytes } = sealedByStream.get(held.stream) ?? nothing;
      sealedByStream.set(held.stream, {
        toId,
        entries: entries - held.entries,
        bytes: bytes - held.bytes,
      });
      opened.delete(held.id);
      damagedById.delete(held.id);
    },
    forget: load,
  };
}

/** Where `ids` first are above `id`. */
function firstAbove(ids: readonly number[], id: number): number {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ids[middle] ?? 0) > id) high = middle;
    else low = middle + 1;
  }
  return low;
}

function rowsFrom(segment: Segment, first: number): SealedRow[] {
  return segment.ids.slice(first).map((_, index) => segment.row(first + index));
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

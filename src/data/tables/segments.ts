/**
 * Sealed entries: the older part of each stream, a thousand entries to a compressed segment with a
 * checksum. Within a stream everything sealed has smaller ids than everything that is still a row
 * (S1). This file walks through them; `segment-directory.ts` is what is known of each,
 * `segment-contents.ts` what is in it, and `sealing.ts` writes. What is found damaged is never passed
 * over (S3).
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SealedRow, Segment } from "../batch/segment.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { createSealedKeys, type Run } from "./sealed-keys.ts";
import { createSegmentContents, SegmentDamaged, type SegmentContents } from "./segment-contents.ts";
import {
  createSegmentDirectory,
  type Held,
  type Piece,
  type SegmentDirectory,
} from "./segment-directory.ts";

/** What may still be looked through in one call; a reader that finds nothing ends all the same. */
export type Scan = { left: number; toId: number };

export type Segments = Pick<
  SegmentDirectory,
  | "sealed"
  | "toId"
  | "held"
  | "after"
  | "heldFrom"
  | "piecesOf"
  | "pieceAt"
  | "nextId"
  | "oldestId"
  | "lastId"
> &
  Pick<
    SegmentContents,
    | "open"
    | "check"
    | "damaged"
    | "isSound"
    | "giveUp"
    | "plan"
    | "writePlan"
    | "restore"
    | "delete"
    | "trim"
  > & {
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
    /** What it is in; undefined: given up. Throws `segment-damaged`. */
    openPiece(piece: Piece): Segment | undefined;
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
    /** Undefined: it was given up with its segment. Throws `segment-damaged`. */
    rowById(held: Held, id: number): SealedRow | undefined;
    oldest(stream: StreamRow): Held | undefined;
    /** Inside a transaction that added a segment with these keys. */
    added(held: Held, runs: readonly Run[]): void;
    /** Inside a transaction that took a segment away. */
    removed(held: Held): void;
    /** Reads anew what is kept in memory: after a rollback, or when entries became rows again. */
    forget(): void;
  };

/** What a look into the directory that finds nothing counts as looking through. */
const lookCost = 200;

export function createSegments(
  db: Database,
  names: Names,
  onDamaged?: (found: SegmentDamaged) => void,
): Segments {
  const directory = createSegmentDirectory(db);
  const contents = createSegmentContents(db, { names, directory }, onDamaged);
  const keys = createSealedKeys(db);
  const { open } = contents;
  const { pieceAt } = directory;

  const openUnlessLost = (id: number): Segment | undefined => {
    try {
      return open(id);
    } catch (error) {
      if (!(error instanceof SegmentDamaged) || !contents.isLost(id)) throw error;
      return undefined;
    }
  };
  const openPiece = ({ segment }: Piece) => openUnlessLost(segment);
  const rowsOf = (piece: Piece, after: number, to: number): readonly SealedRow[] => {
    const { origin, firstSequence, lastSequence } = piece;
    const [low, high] = [Math.max(after + 1, firstSequence), Math.min(to, lastSequence)];
    const segment = openPiece(piece);
    if (!segment) return [];
    const { origins, sequences, row } = segment;
    const rows: SealedRow[] = [];
    for (const [index, sequence] of sequences.entries())
      if (sequence >= low && sequence <= high && origins[index] === origin) rows.push(row(index));
    return rows;
  };

  return {
    sealed: directory.sealed,
    toId: directory.toId,
    held: directory.held,
    after: directory.after,
    heldFrom: directory.heldFrom,
    piecesOf: directory.piecesOf,
    pieceAt,
    nextId: directory.nextId,
    get oldestId() {
      return directory.oldestId;
    },
    get lastId() {
      return directory.lastId;
    },
    open,
    check: contents.check,
    damaged: contents.damaged,
    isSound: contents.isSound,
    giveUp: contents.giveUp,
    plan: contents.plan,
    writePlan: contents.writePlan,
    restore: contents.restore,
    delete: contents.delete,
    trim: contents.trim,

    *rows(stream, afterId, time, scan) {
      scan.toId = afterId;
      const end = directory.toId(stream);
      while (scan.toId < end) {
        if (scan.left <= 0) return;
        const look = directory.inTime(stream, scan.toId, time);
        if (look.held) {
          const segment = open(look.held.id);
          const first = firstAbove(segment.ids, scan.toId);
          for (const sealed of rowsFrom(segment, first)) {
            scan.toId = sealed.id;
            if (sealed.atMs >= time.fromMs && sealed.atMs < time.toMs) yield sealed;
          }
          scan.left -= segment.ids.length - first;
        } else scan.left -= lookCost;
        scan.toId = look.toId;
      }
      scan.toId = Number.POSITIVE_INFINITY;
    },

    countAfter(stream, id) {
      const whole = directory.entriesAfter(stream, id);
      const first = directory.after(stream, id);
      if (!first || first.id > id) return whole;
      const { ids } = open(first.id);
      return whole + ids.length - firstAbove(ids, id);
    },

    newestIds(stream, count) {
      const ids: number[] = [];
      let before = Number.MAX_SAFE_INTEGER;
      while (ids.length < count) {
        const held = directory.before(stream, before);
        if (!held) break;
        ids.push(
          ...open(held.id)
            .ids.slice(ids.length - count)
            .toReversed(),
        );
        before = held.lastId;
      }
      return ids;
    },

    openPiece,
    *pieces(origin, streams, after, to) {
      for (const stream of streams) {
        if (directory.toId(stream) === 0) continue;
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
      const segment = openUnlessLost(held.id);
      if (!segment) return undefined;
      const row = segment.row(firstAbove(segment.ids, id - 1));
      if (row.id === id) return row;
      throw new SkerryError({ code: "internal", message: `segment ${held.id} has no entry ${id}` });
    },
    oldest: (stream) => directory.after(stream, 0),
    added(held, runs) {
      directory.added(held);
      keys.added(runs);
    },
    removed(held) {
      directory.removed(held);
      contents.removed(held);
    },
    forget() {
      for (const part of [directory, contents, keys]) part.forget();
    },
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

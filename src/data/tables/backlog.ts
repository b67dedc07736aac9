/**
 * What the hub does not have yet, by stream. Counted as it changes; counted anew from the table only
 * after a rollback, and only when somebody asks.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import type { Segments } from "./segments.ts";

export type Waiting = { entries: number; bytes: number };

export interface Backlog {
  /** Whether a hub ever said what it has; until then everything waits. */
  readonly hubKnown: boolean;
  add(stream: StreamRow, bodyBytes: number): void;
  /** Rows that waited and were deleted. */
  subtract(stream: StreamRow, removed: Waiting): void;
  /** Inside a transaction. */
  moveHubTop(origin: OriginRow, top: number): void;
  /** By stream id. */
  count(): ReadonlyMap<number, Waiting>;
  /** What waits longest among streams that leave: the row, or where its segment begins. */
  oldestId(leaves: (stream: StreamRow) => boolean): number | undefined;
  forget(): void;
}

/** Rows of streams that stay, looked through before giving up on the age of the oldest that leaves. */
const oldestScanMax = 1000;

export function createBacklog(db: Database, tables: { names: Names; segments: Segments }): Backlog {
  const { names, segments } = tables;
  const countBetween = db.prepare(
    `SELECT stream, count(*) AS entries, sum(length(body)) AS bytes FROM entry
     WHERE origin = ? AND sequence > ? AND sequence <= ? GROUP BY stream`,
  );
  const firstAfter = db.prepare(
    `SELECT id, stream FROM entry WHERE origin = ? AND sequence > ? ORDER BY sequence LIMIT ${oldestScanMax}`,
  );
  let counted: Map<number, Waiting> | undefined;
  let hubKnown = false;

  const addBetween = (
    into: Map<number, Waiting>,
    origin: OriginRow,
    after: number,
    to: number,
    sign: 1 | -1,
  ) => {
    const add = (stream: number, { entries, bytes }: Waiting) => {
      const waiting = into.get(stream) ?? { entries: 0, bytes: 0 };
      into.set(stream, waiting);
      waiting.entries += sign * entries;
      waiting.bytes += sign * bytes;
    };
    for (const row of countBetween.all(origin.id, after, to)) {
      const entries = Number(row["entries"]);
      const bytes = Number(row["bytes"]) + entries * entryOverheadBytes;
      add(Number(row["stream"]), { entries, bytes });
    }
    for (const piece of segments.pieces(origin, names.streams(), after, to))
      add(piece.stream, segments.countIn(piece, after, to));
  };
  const recount = () => {
    const waiting = new Map<number, Waiting>();
    for (const origin of names.origins(""))
      addBetween(waiting, origin, origin.hubTop, origin.top, 1);
    return waiting;
  };
  const load = () => {
    counted = undefined;
    hubKnown = names.origins("").some(({ hubTop }) => hubTop > 0);
  };
  load();

  return {
    get hubKnown() {
      return hubKnown;
    },
    add(stream, bodyBytes) {
      if (!counted) return;
      const waiting = counted.get(stream.id) ?? { entries: 0, bytes: 0 };
      counted.set(stream.id, waiting);
      waiting.entries++;
      waiting.bytes += bodyBytes + entryOverheadBytes;
    },
    subtract(stream, removed) {
      const waiting = counted?.get(stream.id);
      if (!waiting) return;
      waiting.entries -= removed.entries;
      waiting.bytes -= removed.bytes;
    },
    moveHubTop(origin, top) {
      const [low, high] = [Math.min(origin.hubTop, top), Math.max(origin.hubTop, top)];
      if (counted) addBetween(counted, origin, low, high, top > origin.hubTop ? -1 : 1);
      origin.hubTop = top;
      hubKnown ||= top > 0;
      names.writeHubTop(origin);
    },
    count() {
      counted ??= recount();
      return counted;
    },
    oldestId(leaves) {
      const leaving = names.streams().filter(leaves);
      const ids = names.origins("").flatMap((origin) => {
        const row = firstAfter
          .all(origin.id, origin.hubTop)
          .find((candidate) => leaves(names.streamById(Number(candidate["stream"]))));
        const sealed = leaving.flatMap((stream) => {
          const [piece] = segments.pieces(origin, [stream], origin.hubTop, origin.top);
          return piece ? [piece.segment] : [];
        });
        return row ? [Number(row["id"]), ...sealed] : sealed;
      });
      return ids.length === 0 ? undefined : Math.min(...ids);
    },
    forget: load,
  };
}

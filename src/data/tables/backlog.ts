/**
 * What the hub does not have yet, by stream. Counted as it changes; counted anew from the table only
 * after a rollback, and only when somebody asks.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { HubLanes } from "./lanes.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import type { Segments } from "./segments.ts";

export type Waiting = { entries: number; bytes: number };

export interface Backlog {
  /** Whether what leaves waits for a hub: the cell has one, or one said what it has. */
  readonly hubExpected: boolean;
  /** Inside a transaction: the cell has a hub, which need not have said anything yet. */
  expectHub(): void;
  add(stream: StreamRow, bodyBytes: number): void;
  /** Rows that waited and were deleted. */
  subtract(stream: StreamRow, removed: Waiting): void;
  /** Inside a transaction. */
  moveHubTop(origin: OriginRow, top: number): void;
  /** Inside a transaction: of a stream that goes apart from the rest of the log. */
  moveLane(origin: OriginRow, stream: StreamRow, top: number): void;
  /** By stream id. */
  count(): ReadonlyMap<number, Waiting>;
  /** What waits longest among streams that leave: the row, or where its segment begins. */
  oldestId(leaves: (stream: StreamRow) => boolean): number | undefined;
  forget(): void;
}

/** Rows of streams that stay, looked through before giving up on the age of the oldest that leaves. */
const oldestScanMax = 1000;

export function createBacklog(
  db: Database,
  tables: { names: Names; lanes: HubLanes; segments: Segments },
): Backlog {
  const { names, lanes, segments } = tables;
  const countBetween = db.prepare(
    `SELECT stream, count(*) AS entries, sum(length(body)) AS bytes FROM entry
     WHERE origin = ? AND sequence > ? AND sequence <= ? GROUP BY stream`,
  );
  const firstAfter = db.prepare(
    `SELECT id, stream FROM entry WHERE origin = ? AND sequence > ? ORDER BY sequence LIMIT ${oldestScanMax}`,
  );
  const firstOfLane = db.prepare(
    "SELECT min(id) AS id FROM entry WHERE stream = ? AND origin = ? AND sequence > ?",
  );
  let counted: Map<number, Waiting> | undefined;
  const readExpected = db.prepare("SELECT 1 FROM meta WHERE name = 'hub_expected'");
  const writeExpected = db.prepare("INSERT OR REPLACE INTO meta VALUES ('hub_expected', 1)");
  let hubExpected = false;

  /** Of these streams, the positions `after < position <= to`. */
  const addBetween = (
    into: Map<number, Waiting>,
    { origin, streams }: { origin: OriginRow; streams: readonly StreamRow[] },
    [after, to]: readonly [number, number],
    sign: 1 | -1,
  ) => {
    const wanted = new Set(streams.map(({ id }) => id));
    const add = (stream: number, { entries, bytes }: Waiting) => {
      const waiting = into.get(stream) ?? { entries: 0, bytes: 0 };
      into.set(stream, waiting);
      waiting.entries += sign * entries;
      waiting.bytes += sign * bytes;
    };
    for (const row of countBetween.all(origin.id, after, to)) {
      const entries = Number(row["entries"]);
      const bytes = Number(row["bytes"]) + entries * entryOverheadBytes;
      if (wanted.has(Number(row["stream"]))) add(Number(row["stream"]), { entries, bytes });
    }
    for (const piece of segments.pieces(origin, streams, after, to))
      add(piece.stream, segments.countIn(piece, after, to));
  };
  /** Those that go with the rest of the log. */
  const together = (origin: OriginRow) =>
    names.streams().filter((stream) => !lanes.isOpen(origin, stream));
  const recount = () => {
    const waiting = new Map<number, Waiting>();
    for (const origin of names.origins("")) {
      const { hubTop, top } = origin;
      addBetween(waiting, { origin, streams: together(origin) }, [hubTop, top], 1);
      for (const stream of lanes.openOf(origin)) {
        const range = [lanes.hubTop(origin, stream), top] as const;
        addBetween(waiting, { origin, streams: [stream] }, range, 1);
      }
    }
    return waiting;
  };
  const move = (
    of: { origin: OriginRow; streams: readonly StreamRow[] },
    from: number,
    to: number,
  ) => {
    const range = [Math.min(from, to), Math.max(from, to)] as const;
    if (counted) addBetween(counted, of, range, to > from ? -1 : 1);
    if (to > 0) hubExpected = true;
  };
  const load = () => {
    counted = undefined;
    hubExpected =
      readExpected.get() !== undefined ||
      names.origins("").some((origin) => origin.hubTop > 0 || lanes.openOf(origin).length > 0);
  };
  load();

  return {
    get hubExpected() {
      return hubExpected;
    },
    expectHub() {
      writeExpected.run();
      hubExpected = true;
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
      move({ origin, streams: together(origin) }, origin.hubTop, top);
      origin.hubTop = top;
      names.writeHubTop(origin);
    },
    moveLane(origin, stream, top) {
      const before = lanes.move(origin, stream, top);
      move({ origin, streams: [stream] }, before, top);
    },
    count() {
      counted ??= recount();
      return counted;
    },
    oldestId(leaves) {
      const leaving = names.streams().filter(leaves);
      const ids = names.origins("").flatMap((origin) => {
        const lanesOpen = lanes.openOf(origin).filter(leaves);
        const row = firstAfter.all(origin.id, origin.hubTop).find((candidate) => {
          const stream = names.streamById(Number(candidate["stream"]));
          return leaves(stream) && !lanes.isOpen(origin, stream);
        });
        const inLanes = lanesOpen.flatMap((stream) => {
          const found = firstOfLane.get(stream.id, origin.id, lanes.hubTop(origin, stream));
          return found?.["id"] == null ? [] : [Number(found["id"])];
        });
        const sealed = leaving.flatMap((stream) => {
          const [piece] = segments.pieces(
            origin,
            [stream],
            lanes.hubTop(origin, stream),
            origin.top,
          );
          return piece ? [piece.segment] : [];
        });
        return [...(row ? [Number(row["id"])] : []), ...inLanes, ...sealed];
      });
      return ids.length === 0 ? undefined : Math.min(...ids);
    },
    forget: load,
  };
}

/**
 * Lanes: streams that go to the hub each on its own, apart from the rest of their origin's log, because
 * they have a priority or a budget of their own. A lane is a log like any other to the hub, named
 * `ORIGIN#STREAM`, with the positions of the origin's log. It is opened once, behind all that the hub
 * has of the origin by then, and stays open: from then on the log without it is sent without its stream.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import type { Vector } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";

export interface HubLanes {
  /** Whether the hub has it. */
  isOpen(origin: OriginRow, stream: StreamRow): boolean;
  /** Up to where the hub has everything of this stream. */
  hubTop(origin: OriginRow, stream: StreamRow): number;
  /** Streams whose lane is open. */
  openOf(origin: OriginRow): readonly StreamRow[];
  /** Inside a transaction. Answers where it stood before. */
  move(origin: OriginRow, stream: StreamRow, top: number): number;
  /** What this store has of open lanes and of those that these streams are to have. */
  tops(streams: readonly StreamRow[]): Vector;
  /** An entry of this stream was added there. */
  added(origin: OriginRow, stream: StreamRow, sequence: number): void;
  /** Reads anew what is kept in memory. */
  forget(): void;
}

const mark = "#";

export const laneName = (origin: string, stream: string): string => `${origin}${mark}${stream}`;

/** Undefined for the name of an origin. */
export function parseLane(name: string): { origin: string; stream: string } | undefined {
  const at = name.indexOf(mark);
  return at < 0 ? undefined : { origin: name.slice(0, at), stream: name.slice(at + 1) };
}

/** The origin of what stands in a log, be it that of a lane. */
export const originOfLog = (name: string): string => parseLane(name)?.origin ?? name;

export function createHubLanes(db: Database, names: Names): HubLanes {
  const upsert = db.prepare("INSERT OR REPLACE INTO hub_lane VALUES (?, ?, ?)");
  const topRow = db.prepare(
    "SELECT max(sequence) AS top FROM entry WHERE origin = ? AND stream = ?",
  );
  const topSealed = db.prepare(
    "SELECT max(last_sequence) AS top FROM piece WHERE origin = ? AND stream = ?",
  );
  /** By stream, by origin: what the hub has. */
  const hubTops = new Map<number, Map<number, number>>();
  /** By origin and stream: the last position here. */
  const ownTops = new Map<string, number>();
  const keyOf = (origin: OriginRow, stream: StreamRow) => `${origin.id}/${stream.id}`;
  const load = () => {
    hubTops.clear();
    ownTops.clear();
    for (const row of db.prepare("SELECT origin, stream, top FROM hub_lane").all())
      keep(Number(row["origin"]), Number(row["stream"]), Number(row["top"]));
  };
  const keep = (origin: number, stream: number, top: number) => {
    const tops = hubTops.get(origin) ?? new Map<number, number>();
    hubTops.set(origin, tops);
    tops.set(stream, top);
  };
  load();

  const hubTop = (origin: OriginRow, stream: StreamRow) =>
    hubTops.get(origin.id)?.get(stream.id) ?? origin.hubTop;
  const openOf = (origin: OriginRow) =>
    [...(hubTops.get(origin.id)?.keys() ?? [])].map((id) => names.streamById(id));
  const ownTop = (origin: OriginRow, stream: StreamRow): number => {
    const known = ownTops.get(keyOf(origin, stream));
    if (known !== undefined) return known;
    const rows = [topRow, topSealed].map((statement) => statement.get(origin.id, stream.id));
    const top = Math.max(0, ...rows.map((row) => Number(row?.["top"] ?? 0)));
    ownTops.set(keyOf(origin, stream), top);
    return top;
  };

  return {
    isOpen: (origin, stream) => hubTops.get(origin.id)?.has(stream.id) ?? false,
    hubTop,
    openOf,
    move(origin, stream, top) {
      const before = hubTop(origin, stream);
      upsert.run(origin.id, stream.id, top);
      keep(origin.id, stream.id, top);
      return before;
    },
    tops(streams) {
      const tops: Record<string, number> = {};
      for (const origin of names.origins("")) {
        for (const stream of new Set([...streams, ...openOf(origin)])) {
          const top = ownTop(origin, stream);
          // What the hub has of a log that had nothing of it yet needs no lane.
          if (top > hubTop(origin, stream) || hubTops.get(origin.id)?.has(stream.id))
            tops[laneName(origin.name, stream.name)] = top;
        }
      }
      return tops;
    },
    added(origin, stream, sequence) {
      const top = ownTops.get(keyOf(origin, stream));
      if (top !== undefined && top < sequence) ownTops.set(keyOf(origin, stream), sequence);
    },
    forget: load,
  };
}

/** Reading a store's entries: by stream in the order of its view, or an origin's log by position. */
import { SkerryError } from "../../lib/errors.ts";
import type { PageQuery, Row, RowPage } from "../tables/entry-reads.ts";
import { parseLane } from "../tables/lanes.ts";
import type { StreamRow } from "../tables/names.ts";
import { SegmentDamaged } from "../tables/segment-contents.ts";
import type { Tables } from "../tables/tables.ts";
import { unknownStream } from "./check.ts";
import { pageLimit, parseCursor } from "./cursor.ts";
import type { ColumnBatch, LogQuery, ReadEntry, ReadPage, ReadQuery } from "./store.ts";

export interface Reading {
  /** Throws `stream-unknown`; undefined: declared, and without an entry. */
  readable(stream: string): StreamRow | undefined;
  /** Throws `segment-damaged`, with the cursor behind it in its hint. */
  page(query: PageQuery): RowPage;
  /** As `StreamStore.read`. */
  read(query: ReadQuery): ReadPage;
  log(query: LogQuery): ColumnBatch | undefined;
  /** The same for the hub: an origin's log without its open lanes, or a lane. */
  leaving(query: LogQuery): ColumnBatch | undefined;
  cursorOf(id: number): string;
  /** Throws `invalid-cursor`. */
  parse(cursor: string | undefined): number;
  toReadEntry(row: Row): ReadEntry;
}

const batchBytesDefault = 256 * 1024;
const batchEntriesMax = 4096;

export function createReading(
  tables: Pick<Tables, "names" | "lanes" | "entries" | "readLog">,
  options: { scope: string; view: string; declared: () => ReadonlyMap<string, unknown> },
): Reading {
  const { names, lanes, entries, readLog } = tables;
  const { scope, view, declared } = options;
  const cursorOf = (id: number) => `${view}.${id}`;
  const parse = (cursor: string | undefined) => parseCursor(cursor, view);

  const readable = (name: string): StreamRow | undefined => {
    const row = names.findStream(scope, name);
    if (!row && !declared().has(name))
      throw new SkerryError(unknownStream(name, declared().keys()));
    return row;
  };
  const toReadEntry = ({ id, scope: _scope, ...entry }: Row): ReadEntry => ({
    ...entry,
    cursor: cursorOf(id),
  });
  const pageOf = (query: PageQuery): RowPage => {
    try {
      return entries.page(query);
    } catch (error) {
      if (!(error instanceof SegmentDamaged)) throw error;
      const { code, message, hint } = error;
      const on = `to read on behind them: after=${cursorOf(error.held.lastId)}`;
      throw new SkerryError({ code, message, hint: `${hint}; ${on}`, cause: error });
    }
  };

  const logOf = (
    { origin: name, from, bytesMax = batchBytesDefault }: LogQuery,
    streams: readonly StreamRow[],
  ): ColumnBatch | undefined => {
    const origin = names.findOrigin(scope, name);
    if (!origin || from > origin.top) return undefined;
    const start = Math.max(1, from);
    const limits = { entriesMax: batchEntriesMax, bytesMax };
    const { columns, complete } = readLog(origin, streams, { from: start }, limits, "end");
    const to = complete ? origin.top : (columns.position.at(-1) ?? start);
    return { origin: name, from: start, to, columns };
  };

  return {
    readable,
    page: pageOf,
    read({ stream, after, newest, fromMs = 0, toMs = Number.MAX_SAFE_INTEGER, limit }) {
      const row = readable(stream);
      const streams = row ? [row] : [];
      const afterId =
        newest === undefined ? parse(after) : entries.beforeNewest(streams, pageLimit(newest));
      const page = pageOf({ streams, afterId, fromMs, toMs, limit: pageLimit(limit) });
      return {
        entries: page.rows.map(toReadEntry),
        cursor: cursorOf(page.lastId),
        more: page.more,
      };
    },
    log: (query) => logOf(query, names.streams()),
    leaving(query) {
      const lane = parseLane(query.origin);
      const origin = names.findOrigin(scope, lane?.origin ?? query.origin);
      if (!origin) return undefined;
      if (!lane)
        return logOf(
          query,
          names.streams().filter((stream) => !lanes.isOpen(origin, stream)),
        );
      const stream = names.findStream(scope, lane.stream);
      if (!stream) return undefined;
      // The hub has what went before with the rest of the log; to it a new lane begins at 1 all the same.
      const from = lanes.isOpen(origin, stream) ? query.from : origin.hubTop + 1;
      const batch = logOf({ ...query, origin: origin.name, from }, [stream]);
      return batch && { ...batch, origin: query.origin, from: query.from };
    },
    cursorOf,
    parse,
    toReadEntry,
  };
}

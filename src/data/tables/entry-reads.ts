/**
 * Reading entries, rows and sealed ones as one: by stream in the order of the merged view, or by
 * position in an origin's log.
 */
import type { StoredEntry } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SealedRow } from "../batch/segment.ts";
import { mergeSorted } from "./merge-sorted.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { rowColumns, toSealedRow } from "./rows.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Scan, Segments } from "./segments.ts";

export type Row = StoredEntry & { readonly id: number; readonly scope: string };

export type RowPage = {
  readonly rows: readonly Row[];
  readonly lastId: number;
  readonly more: boolean;
};

export type PageQuery = {
  readonly streams: readonly StreamRow[];
  readonly afterId: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly limit: number;
};

export interface EntryReads {
  /** By stream in the order of the merged view. Throws `segment-damaged` when it begins with one. */
  page(query: PageQuery): RowPage;
  /** The id behind which the `count` newest entries of these streams lie; 0 when they hold fewer. */
  beforeNewest(streams: readonly StreamRow[], count: number): number;
  countAfter(stream: StreamRow, id: number): number;
  /** What there is of one stream at these positions of a log; what is damaged is left out. */
  copies(
    origin: OriginRow,
    stream: StreamRow,
    range: { from: number; to: number },
    entriesMax: number,
  ): readonly StoredEntry[];
}

/** Without an entry: there is one at this position or behind it, not unpacked yet. */
type LogItem = { readonly sequence: number; readonly entry?: Row };

/** Entries that one page may look through without finding anything in the time asked for. */
const scannedMax = 20_000;
const pageBytesMax = 1024 * 1024;

export function createEntryReads(
  db: Database,
  tables: { names: Names; segments: Segments },
  nextId: () => number,
): EntryReads {
  const { names, segments } = tables;
  const pageOfStream = db.prepare(
    `SELECT ${rowColumns} FROM entry
     WHERE stream = ? AND id > ? AND id <= ? AND at_ms >= ? AND at_ms < ?
     ORDER BY id LIMIT ?`,
  );
  const pageOfAll = db.prepare(
    `SELECT ${rowColumns} FROM entry
     WHERE id > ? AND id <= ? AND at_ms >= ? AND at_ms < ? ORDER BY id`,
  );
  const streamRowAt = db.prepare(
    "SELECT id FROM entry WHERE stream = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?",
  );
  const newestIds = db.prepare("SELECT id FROM entry WHERE stream = ? ORDER BY id DESC LIMIT ?");
  const countRows = db.prepare("SELECT count(*) AS rows FROM entry WHERE stream = ? AND id > ?");
  const logRows = db.prepare(
    `SELECT ${rowColumns} FROM entry WHERE origin = ? AND sequence >= ? ORDER BY sequence LIMIT ?`,
  );
  const aliasRows = db.prepare(
    `SELECT a.sequence AS alias_sequence, a.segment, a.entry, e.*
     FROM alias a LEFT JOIN entry e ON e.id = a.entry
     WHERE a.origin = ? AND a.sequence >= ? ORDER BY a.sequence LIMIT ?`,
  );

  const toEntry = (stream: StreamRow, row: SealedRow): Row => {
    const { id, origin, sequence, key, atMs, body } = row;
    const { name, scope } = stream;
    const position = { origin: names.originById(origin).name, sequence };
    if (!key) return { id, scope, stream: name, atMs, body, position };
    const producer = names.producerById(key.producer);
    const named = { producer, epoch: key.epoch, sequence: key.sequence };
    return { id, scope, stream: name, atMs, key: named, body, position };
  };
  const rowToEntry = (row: Record<string, unknown>): Row =>
    toEntry(names.streamById(row["stream"] as number), toSealedRow(row));

  const sealedLog = function* (
    origin: OriginRow,
    stream: StreamRow,
    from: number,
    options?: { passOver: boolean },
  ): Generator<LogItem> {
    for (const { sequence, row } of segments.log(origin, stream, from, options))
      yield row ? { sequence, entry: toEntry(stream, row) } : { sequence };
  };
  const rowLog = function* (origin: OriginRow, from: number, limit: number): Generator<LogItem> {
    for (const row of logRows.iterate(origin.id, from, limit))
      yield { sequence: row["sequence"] as number, entry: rowToEntry(row) };
  };
  const aliasLog = function* (origin: OriginRow, from: number, limit: number): Generator<LogItem> {
    for (const row of aliasRows.iterate(origin.id, from, limit)) {
      const sequence = row["alias_sequence"] as number;
      yield { sequence };
      const position = { origin: origin.name, sequence };
      yield { sequence, entry: { ...aliased(row), position } };
    }
  };
  const aliased = (row: Record<string, unknown>): Row => {
    if (row["segment"] === null) return rowToEntry(row);
    const held = segments.held(row["segment"] as number);
    return toEntry(names.streamById(held.stream), segments.rowById(held, row["entry"] as number));
  };

  const rowsOfPage = function* (
    { streams, fromMs, toMs, limit }: PageQuery,
    [afterId, toId]: readonly [number, number],
  ): Generator<Row> {
    const [only] = streams;
    const wanted = new Set(streams.map(({ id }) => id));
    const found =
      only && streams.length === 1
        ? pageOfStream.iterate(only.id, afterId, toId, fromMs, toMs, limit + 1)
        : pageOfAll.iterate(afterId, toId, fromMs, toMs);
    for (const row of found) if (wanted.has(row["stream"] as number)) yield rowToEntry(row);
  };
  const sealedOfPage = function* (query: PageQuery, stream: StreamRow, scan: Scan): Generator<Row> {
    for (const row of segments.rows(stream, query.afterId, query, scan)) yield toEntry(stream, row);
  };

  return {
    page(query) {
      const { streams, afterId, limit } = query;
      const [only] = streams;
      const last = nextId() - 1;
      const scans: Scan[] = [];
      const sealed = streams.flatMap((stream) => {
        if (segments.toId(stream) <= afterId) return [];
        const scan: Scan = { left: scannedMax, toId: afterId };
        scans.push(scan);
        return [sealedOfPage(query, stream, scan)];
      });
      // A stream's rows all lie behind what is sealed of it.
      const rowsAfter =
        only && streams.length === 1 ? Math.max(afterId, segments.toId(only)) : afterId;
      const scanEnd =
        only && streams.length === 1
          ? Number(streamRowAt.get(only.id, rowsAfter, scannedMax)?.["id"] ?? last)
          : Math.min(last, afterId + scannedMax);
      const lookedTo = () => Math.min(scanEnd, ...scans.map(({ toId }) => toId));
      const rows: Row[] = [];
      let bytes = 0;
      try {
        const found = [...sealed, rowsOfPage(query, [rowsAfter, scanEnd])];
        for (const row of mergeSorted(found, ({ id }) => id)) {
          if (rows.length >= limit || bytes >= pageBytesMax)
            return { rows, lastId: rows.at(-1)?.id ?? afterId, more: true };
          if (row.id > lookedTo()) break;
          rows.push(row);
          bytes += row.body.length;
        }
      } catch (error) {
        // What was found before it is answered first; the next page begins with the damage.
        if (!(error instanceof SegmentDamaged) || rows.length === 0) throw error;
        return { rows, lastId: rows.at(-1)?.id ?? afterId, more: true };
      }
      const end = Math.max(afterId, lookedTo());
      return { rows, lastId: end, more: end < last };
    },

    beforeNewest(streams, wanted) {
      const ids = streams.flatMap((stream) => {
        const rows = newestIds.all(stream.id, wanted + 1).map((row) => Number(row["id"]));
        return [...rows, ...segments.newestIds(stream, wanted + 1 - rows.length)];
      });
      return ids.sort((a, b) => b - a)[wanted] ?? 0;
    },

    countAfter: (stream, id) =>
      segments.countAfter(stream, id) + Number(countRows.get(stream.id, id)?.["rows"]),

    copies(origin, stream, { from, to }, entriesMax) {
      const sources = [
        sealedLog(origin, stream, from, { passOver: true }),
        rowLog(origin, from, to - from + 1),
        soundAliases(aliasLog(origin, from, to - from + 1)),
      ];
      const entries: StoredEntry[] = [];
      for (const { sequence, entry } of mergeSorted(sources, (item) => item.sequence)) {
        if (sequence > to || entries.length >= entriesMax) break;
        if (entry?.stream !== stream.name) continue;
        const { id: _id, scope: _scope, ...stored } = entry;
        entries.push(stored);
      }
      return entries;
    },
  };
}

/** Up to the first whose entry is damaged here. */
function* soundAliases(items: Generator<LogItem>): Generator<LogItem> {
  try {
    yield* items;
  } catch (error) {
    if (!(error instanceof SegmentDamaged)) throw error;
  }
}

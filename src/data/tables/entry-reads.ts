/** Reading entries, rows and sealed ones as one, by stream in the order of the merged view. */
import type { StoredEntry } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { SealedRow } from "../batch/segment.ts";
import { mergeSorted } from "./merge-sorted.ts";
import type { Names, StreamRow } from "./names.ts";
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
}

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
  };
}

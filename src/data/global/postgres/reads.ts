/**
 * Reading the merged view: first the directory (`piece`), which says in a few rows where a page's
 * entries stand and which of them can lie in a time range, then the entries themselves.
 */
import type { Row, Session } from "../../../runtime/postgres/index.ts";
import type { GlobalEntry } from "../store.ts";

export type PageQuery = {
  readonly streams: readonly StreamRow[];
  readonly afterId: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly limit: number;
};
export type StreamRow = { readonly id: number; readonly cell: string; readonly name: string };
export type Page = {
  readonly rows: readonly (Omit<GlobalEntry, "cursor"> & { readonly id: number })[];
  readonly lastId: number;
  readonly more: boolean;
};

/** All of this name and cell; of those that are not said, all. */
export function* findStreams(of: { name?: string; cell?: string }): Asking<readonly Row[]> {
  return yield {
    text: `SELECT s.id, c.name AS cell, s.name, s.entries, s.bytes
     FROM skerry.stream s JOIN skerry.cell c ON c.id = s.cell
     WHERE ($1::text IS NULL OR s.name = $1) AND ($2::text IS NULL OR c.name = $2)`,
    values: [of.name ?? null, of.cell ?? null],
  };
}

export const toStreamRow = (row: Row): StreamRow => ({
  id: Number(row["id"]),
  cell: String(row["cell"]),
  name: String(row["name"]),
});

type Piece = {
  readonly stream: number;
  readonly batch: number;
  readonly n: number;
  readonly firstId: number;
  readonly lastId: number;
};

/** Entries that one page may look through without finding anything in the time asked for. */
const scannedMax = 20_000;
const piecesMax = 2000;
const pageBytesMax = 1024 * 1024;
const timeMaxMs = Date.UTC(9999, 0, 1);

type Statement = { readonly text: string; readonly values: readonly unknown[] };
/** What is asked of PostgreSQL, one after the other, whoever asks it. */
export type Asking<T> = Generator<Statement, T, readonly Row[]>;

export async function ask<T>(session: Session, asking: Asking<T>): Promise<T> {
  let step = asking.next();
  while (!step.done) step = asking.next(await session.query(step.value.text, step.value.values));
  return step.value;
}

export function* readPage(query: PageQuery): Asking<Page> {
  const { streams, afterId, limit } = query;
  const ids = streams.map(({ id }) => id);
  // All places below were committed when this is read, so the statements behind it see them (D5).
  const [view] = yield { text: "SELECT next FROM skerry.view", values: [] };
  const endId = Number(view?.["next"]) - 1;
  const fromMs = Math.max(0, Math.min(query.fromMs, timeMaxMs));
  const toMs = Math.max(0, Math.min(query.toMs, timeMaxMs));
  const found = yield {
    text: `SELECT stream, batch, n, first_id, last_id,
       from_at >= to_timestamp($4 / 1000.0) AND to_at < to_timestamp($5 / 1000.0) AS inside
     FROM skerry.piece
     WHERE stream = ANY($1) AND last_id > $2 AND last_id <= $3
       AND to_at >= to_timestamp($4 / 1000.0) AND from_at < to_timestamp($5 / 1000.0)
     ORDER BY last_id LIMIT $6`,
    values: [ids, afterId, endId, fromMs, toMs, piecesMax + 1],
  };
  const pieces: Piece[] = [];
  let candidates = 0;
  // Of pieces that lie in the time whole: what follows is of later pages.
  let certain = 0;
  for (const row of found.slice(0, piecesMax)) {
    if (certain > limit || candidates > Math.max(scannedMax, limit)) break;
    const firstId = Number(row["first_id"]);
    const skipped = Math.max(0, afterId + 1 - firstId);
    const piece = {
      stream: Number(row["stream"]),
      batch: Number(row["batch"]),
      n: Number(row["n"]) + skipped,
      firstId: firstId + skipped,
      lastId: Number(row["last_id"]),
    };
    pieces.push(piece);
    const entries = piece.lastId - piece.firstId + 1;
    candidates += entries;
    if (row["inside"] === true) certain += entries;
  }
  const whole = pieces.length === found.length;
  const lookedTo = whole ? Math.max(afterId, endId) : (pieces.at(-1)?.lastId ?? afterId);
  if (pieces.length === 0) return { rows: [], lastId: lookedTo, more: !whole };
  const rows = yield entriesOf({ pieces, fromMs, toMs, limit: limit + 1 });

  const streamById = new Map(streams.map((stream) => [stream.id, stream]));
  const page = rows.slice(0, limit).map((row) => toEntry(row, streamById));
  if (page.length < Number(rows[0]?.["found"] ?? 0))
    return { rows: page, lastId: page.at(-1)?.id ?? afterId, more: true };
  return { rows: page, lastId: lookedTo, more: !whole };
}

/** The id behind which the `count` newest entries of these streams lie; 0 when they hold fewer. */
export function* beforeNewest(streams: readonly StreamRow[], count: number): Asking<number> {
  const rows = yield {
    text: `SELECT first_id, last_id FROM skerry.piece WHERE stream = ANY($1)
     ORDER BY last_id DESC LIMIT $2`,
    values: [streams.map(({ id }) => id), count + 1],
  };
  let left = count;
  for (const row of rows) {
    const [firstId, lastId] = [Number(row["first_id"]), Number(row["last_id"])];
    if (lastId - firstId + 1 > left) return lastId - left;
    left -= lastId - firstId + 1;
  }
  return 0;
}

/**
 * Bodies are passed on up to the one that reaches `pageBytesMax`: behind it rows only count (`found`).
 * PostgreSQL knows how long a body is without reading it, and reads large ones for its answer only.
 */
function entriesOf(query: {
  pieces: readonly Piece[];
  fromMs: number;
  toMs: number;
  limit: number;
}): Statement {
  const { pieces, fromMs, toMs, limit } = query;
  const batches = pieces.map(({ batch }) => batch);
  return {
    text: `SELECT * FROM (
       SELECT *, count(*) OVER () AS found,
         sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS bytes_before
       FROM (
         SELECT p.id + e.n - p.n AS id, e.stream, o.name AS origin, e.position, e.producer, e.epoch,
           e.sequence, (extract(epoch FROM e.at) * 1000)::bigint AS at_ms, e.body
         FROM unnest($1::int[], $2::bigint[], $3::int[], $4::int[], $5::bigint[]) AS p(stream, batch, n, last_n, id)
           JOIN skerry.entry e ON e.stream = p.stream AND e.batch = p.batch AND e.n BETWEEN p.n AND p.last_n
           JOIN skerry.origin o ON o.id = e.origin
         WHERE e.batch BETWEEN $6 AND $7 AND e.at >= to_timestamp($8 / 1000.0) AND e.at < to_timestamp($9 / 1000.0)
         ORDER BY id LIMIT $10) AS first) AS measured
     WHERE bytes_before < $11 ORDER BY id`,
    values: [
      pieces.map(({ stream }) => stream),
      batches,
      pieces.map(({ n }) => n),
      pieces.map(({ n, firstId, lastId }) => n + lastId - firstId),
      pieces.map(({ firstId }) => firstId),
      Math.min(...batches),
      Math.max(...batches),
      fromMs,
      toMs,
      limit,
      pageBytesMax,
    ],
  };
}

function toEntry(row: Row, streamById: ReadonlyMap<number, StreamRow>): Page["rows"][number] {
  const { cell = "", name = "" } = streamById.get(Number(row["stream"])) ?? {};
  const producer = row["producer"];
  return {
    id: Number(row["id"]),
    cell,
    stream: name,
    atMs: Number(row["at_ms"]),
    ...(producer === null
      ? {}
      : {
          key: {
            producer: String(producer),
            epoch: Number(row["epoch"]),
            sequence: Number(row["sequence"]),
          },
        }),
    body: Buffer.from(String(row["body"])),
    position: { origin: String(row["origin"]), sequence: Number(row["position"]) },
  };
}

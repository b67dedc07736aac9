/**
 * One transaction that takes batches of several cells into the merged view. The rows of its cells are
 * locked in the order of their ids, so of all hub processes one at a time decides what is new of a
 * cell; what was committed meanwhile is seen then. The last statement takes places in the merged view
 * under the lock of its one row, held until the commit: places are committed in their order, and no
 * reader's cursor is passed (D5). Whatever fails, the same batches may come again: positions and keys
 * that are there are not stored twice.
 */
import type { StoredEntry } from "../../../api/index.ts";
import type { Session } from "../../../runtime/postgres/index.ts";
import { entryOverheadBytes, type ApplyAnswer, type LogBatch } from "../../streams/store.ts";
import type { Names } from "./names.ts";
import { copyEntries, encodeRows, type EntryRow } from "./rows.ts";
import { batchesPerMs } from "./schema.ts";
import { addSequence } from "./seen-block.ts";
import { createSeen, type Seen } from "./seen.ts";

export type Arrival = { readonly cell: string; readonly batch: LogBatch };

export type Ingested = {
  readonly answers: readonly ApplyAnswer[];
  /** The number of the transaction; 0 when it added no entries. */
  readonly batch: number;
  /** Streams that grew, by cell. */
  readonly grown: readonly { readonly cell: string; readonly stream: string }[];
  /** Call after the commit. */
  keep(): void;
};

/** Entries have no partition to go to: make it and try again. */
export type NoPart = { readonly noPartForMs: number };

/** Of one stream in this transaction. */
type Growth = {
  readonly stream: number;
  readonly cell: number;
  readonly of: { readonly cell: string; readonly stream: string };
  readonly rows: EntryRow[];
  bytes: number;
  fromMs: number;
  toMs: number;
};

export async function ingestWithin(
  session: Session,
  deps: { names: Names; cellIds: ReadonlyMap<string, number>; covers: (ms: number) => boolean },
  arrivals: readonly Arrival[],
): Promise<Ingested | NoPart> {
  const { names } = deps;
  const cellOf = ({ cell }: Arrival) => deps.cellIds.get(cell) ?? Number.NaN;
  const batch = await lockCells(session, [...new Set(arrivals.map(cellOf))]);
  const nowMs = Math.floor(batch / batchesPerMs);
  if (!deps.covers(nowMs)) return { noPartForMs: nowMs };

  const origins = await names.within(
    session,
    "origin",
    arrivals.map((one) => ({ cell: cellOf(one), name: one.batch.origin })),
  );
  const originOf = (one: Arrival) => origins.id({ cell: cellOf(one), name: one.batch.origin });
  const tops = await readTops(session, [...new Set(arrivals.map(originOf))]);
  const before = new Map(tops);

  // By position first: what is behind the top was stored, what begins past it is a gap.
  const fresh: {
    arrival: Arrival;
    entries: readonly StoredEntry[];
    streams: ReadonlySet<string>;
  }[] = [];
  const gaps = new Set<Arrival>();
  for (const arrival of arrivals) {
    const origin = originOf(arrival);
    const { from, to } = arrival.batch;
    const top = tops.get(origin) ?? 0;
    if (from > top + 1) {
      gaps.add(arrival);
      continue;
    }
    const entries = arrival.batch.entries.filter(({ position }) => position.sequence > top);
    fresh.push({ arrival, entries, streams: new Set(entries.map(({ stream }) => stream)) });
    tops.set(origin, Math.max(top, to));
  }
  const streams = await names.within(
    session,
    "stream",
    fresh.flatMap((one) => [...one.streams].map((name) => ({ cell: cellOf(one.arrival), name }))),
  );

  // Then by key.
  const seen = createSeen();
  const placed = fresh.map(({ arrival, entries, streams: named }) => {
    const cell = cellOf(arrival);
    const ids = new Map([...named].map((name) => [name, streams.id({ cell, name })]));
    const blocks = entries.map(
      ({ key, stream }) => key && seen.block(ids.get(stream) ?? Number.NaN, key),
    );
    return { arrival, entries, ids, blocks };
  });
  await seen.load(session);
  const growths = new Map<string, Map<string, Growth>>();
  const storedBy = new Map<Arrival, number>();
  for (const { arrival, entries, ids, blocks } of placed) {
    const cell = cellOf(arrival);
    const origin = originOf(arrival);
    const ofCell = growths.get(arrival.cell) ?? new Map<string, Growth>();
    growths.set(arrival.cell, ofCell);
    let stored = 0;
    for (const [index, entry] of entries.entries()) {
      const block = blocks[index];
      if (entry.key && block && !addSequence(block, entry.key.sequence)) continue;
      stored++;
      let growth = ofCell.get(entry.stream);
      if (!growth) {
        const stream = ids.get(entry.stream) ?? Number.NaN;
        const of = { cell: arrival.cell, stream: entry.stream };
        growth = { stream, cell, of, rows: [], bytes: 0, fromMs: Infinity, toMs: -Infinity };
        ofCell.set(entry.stream, growth);
      }
      take(growth, entry, origin);
    }
    storedBy.set(arrival, stored);
  }

  const grown = [...growths.values()]
    .flatMap((ofCell) => [...ofCell.values()])
    .sort((a, b) => a.stream - b.stream);
  const rows = grown.flatMap((growth) => growth.rows);
  if (rows.length > 0) await session.copyIn(copyEntries, encodeRows(batch, rows));
  const moved = [...tops].filter(([origin, top]) => top > (before.get(origin) ?? 0));
  if (moved.length > 0) await writeState(session, { batch, moved, seen, grown });
  if (rows.length > 0) await writePieces(session, { batch, grown, entries: rows.length });

  return {
    answers: arrivals.map((arrival) => ({
      state: gaps.has(arrival) ? "gap" : "applied",
      origin: arrival.batch.origin,
      top: tops.get(originOf(arrival)) ?? 0,
      stored: storedBy.get(arrival) ?? 0,
    })),
    batch: rows.length > 0 ? batch : 0,
    grown: grown.map(({ of }) => of),
    keep() {
      origins.keep();
      streams.keep();
    },
  };
}

function take(growth: Growth, entry: StoredEntry, origin: number): void {
  const { key, atMs, body, position } = entry;
  growth.rows.push({
    position: position.sequence,
    epoch: key?.epoch,
    sequence: key?.sequence,
    producer: key?.producer,
    atMs,
    cell: growth.cell,
    stream: growth.stream,
    origin,
    body,
  });
  growth.bytes += body.length + entryOverheadBytes;
  growth.fromMs = Math.min(growth.fromMs, atMs);
  growth.toMs = Math.max(growth.toMs, atMs);
}

/** Begins with it, and answers the number of this transaction. Ids are ours: whole numbers. */
async function lockCells(session: Session, cells: readonly number[]): Promise<number> {
  const [, , [row] = []] = await session.script(
    `BEGIN;
     SELECT id FROM skerry.cell WHERE id IN (${cells.join(",")}) ORDER BY id FOR NO KEY UPDATE;
     SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint * ${batchesPerMs}
       + nextval('skerry.batch') AS batch`,
  );
  return Number(row?.["batch"]);
}

async function readTops(
  session: Session,
  origins: readonly number[],
): Promise<Map<number, number>> {
  const rows = await session.query(
    "SELECT id, top FROM skerry.origin WHERE id = ANY($1)",
    [origins],
    { name: "tops" },
  );
  return new Map(rows.map((row) => [Number(row["id"]), Number(row["top"])]));
}

/** Positions, keys and counters; the rows of streams in the order in which everybody locks them. */
async function writeState(
  session: Session,
  what: {
    batch: number;
    moved: readonly (readonly [number, number])[];
    seen: Seen;
    grown: readonly Growth[];
  },
): Promise<void> {
  const { batch, moved, grown } = what;
  const changed = what.seen.changed();
  await session.query(
    `WITH origins AS (
       UPDATE skerry.origin o SET top = w.top
       FROM unnest($1::int[], $2::bigint[]) AS w(id, top) WHERE o.id = w.id),
     seen AS (
       INSERT INTO skerry.seen(stream, producer, epoch, block, batch, ranges)
       SELECT stream, producer, epoch, block, $3::bigint, ranges::int[]
       FROM unnest($4::int[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])
         AS w(stream, producer, epoch, block, ranges)
       ON CONFLICT (stream, producer, epoch, block)
         DO UPDATE SET batch = excluded.batch, ranges = excluded.ranges),
     locked AS MATERIALIZED (
       SELECT id FROM skerry.stream WHERE id = ANY($9::int[]) ORDER BY id FOR NO KEY UPDATE)
     UPDATE skerry.stream s SET entries = s.entries + w.entries, bytes = s.bytes + w.bytes
     FROM locked JOIN unnest($9::int[], $10::bigint[], $11::bigint[]) AS w(id, entries, bytes) USING (id)
     WHERE s.id = locked.id`,
    [
      moved.map(([origin]) => origin),
      moved.map(([, top]) => top),
      batch,
      changed.map(({ stream }) => stream),
      changed.map(({ producer }) => producer),
      changed.map(({ epoch }) => epoch),
      changed.map(({ block }) => block),
      changed.map(({ ranges }) => `{${ranges.join(",")}}`),
      grown.map(({ stream }) => stream),
      grown.map(({ rows }) => rows.length),
      grown.map(({ bytes }) => bytes),
    ],
    { name: "state" },
  );
}

async function writePieces(
  session: Session,
  { batch, grown, entries }: { batch: number; grown: readonly Growth[]; entries: number },
): Promise<void> {
  const firsts: number[] = [];
  let n = 0;
  for (const { rows } of grown) {
    firsts.push(n);
    n += rows.length;
  }
  await session.query(
    `WITH place AS (UPDATE skerry.view SET next = next + $1::bigint RETURNING next - $1::bigint AS first)
     INSERT INTO skerry.piece(batch, first_id, last_id, bytes, from_at, to_at, cell, stream, n)
     SELECT $2::bigint, p.first + w.n, p.first + w.n + w.entries - 1, w.bytes,
       to_timestamp(w.from_ms / 1000.0), to_timestamp(w.to_ms / 1000.0), w.cell, w.stream, w.n
     FROM place p, unnest($3::int[], $4::int[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
       AS w(cell, stream, n, entries, bytes, from_ms, to_ms)`,
    [
      entries,
      batch,
      grown.map(({ cell }) => cell),
      grown.map(({ stream }) => stream),
      firsts,
      grown.map(({ rows }) => rows.length),
      grown.map(({ bytes }) => bytes),
      grown.map(({ fromMs }) => fromMs),
      grown.map(({ toMs }) => toMs),
    ],
    { name: "pieces" },
  );
}

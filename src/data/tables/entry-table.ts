/**
 * Rows of entries: written with a position in their origin's log, unique by producer key within the
 * merged view, read by stream or by log. Every method that writes runs inside a transaction.
 */
import type { EntryInput, StoredEntry } from "../../api/index.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { entryOverheadBytes } from "../streams/store.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import { addNumbers, includesNumber, type Range } from "./ranges.ts";

export type PlacedEntry = EntryInput & { readonly atMs: number };

/** Where an entry that was there before stands; undefined when retention removed it since. */
export type Insertion =
  | { readonly state: "stored" }
  | { readonly state: "duplicate"; readonly at: { origin: string; sequence: number } | undefined };

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

export interface EntryTable {
  /**
   * Adds one row at this position, unless its key is there. Keys that retention removed count as
   * duplicates only with `refuseRemoved`: what arrives by replication is better kept twice in time
   * than missed by the hub.
   */
  insert(
    origin: OriginRow,
    sequence: number,
    stream: StreamRow,
    entry: PlacedEntry,
    options: { refuseRemoved: boolean },
  ): Insertion;
  /** Remembers that this position holds the entry with this key, which stands elsewhere. */
  alias(origin: OriginRow, sequence: number, stream: StreamRow, entry: EntryInput): void;
  /** By stream in the order of the merged view. */
  page(query: PageQuery): RowPage;
  /** The id behind which the `count` newest rows of these streams lie; 0 when they hold fewer. */
  beforeNewest(streams: readonly StreamRow[], count: number): number;
  /** By position in one origin's log, aliases included. */
  log(
    origin: OriginRow,
    from: number,
    limits: { entriesMax: number; bytesMax: number },
  ): { entries: readonly StoredEntry[]; complete: boolean };
  /** Keys of rows about to be deleted: resends of them stay duplicates. */
  markRemoved(keys: Iterable<{ producer: number; epoch: number; sequence: number }>): void;
  /** The next row's place in the merged view. */
  readonly nextId: number;
  /** Call after a rollback, after `names.forget`. */
  forget(): void;
}

/** Per producer and epoch; a producer in order needs one. */
const removedRangesMax = 16;
/** Rows that one page may look through without finding anything in the time asked for. */
const scannedRowsMax = 20_000;
const pageBytesMax = 1024 * 1024;

const columns = `e.id, e.origin, e.sequence, e.stream, p.name AS producer, e.epoch,
  e.producer_sequence, e.at_ms, e.body`;
const joined = "entry e LEFT JOIN producer p ON p.id = e.producer";

export function createEntryTable(db: Database, names: Names): EntryTable {
  const insertRow = db.prepare("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const findKey = db.prepare(
    `SELECT id, origin, sequence FROM entry
     WHERE producer = ? AND epoch = ? AND producer_sequence = ?`,
  );
  const insertAlias = db.prepare("INSERT OR IGNORE INTO alias VALUES (?, ?, ?)");
  const pageOfStream = db.prepare(
    `SELECT ${columns} FROM ${joined}
     WHERE e.stream = ? AND e.id > ? AND e.id <= ? AND e.at_ms >= ? AND e.at_ms < ?
     ORDER BY e.id LIMIT ?`,
  );
  const pageOfAll = db.prepare(
    `SELECT ${columns} FROM ${joined}
     WHERE e.id > ? AND e.id <= ? AND e.at_ms >= ? AND e.at_ms < ? ORDER BY e.id`,
  );
  const streamRowAt = db.prepare(
    "SELECT id FROM entry WHERE stream = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?",
  );
  const newestIds = db.prepare("SELECT id FROM entry WHERE stream = ? ORDER BY id DESC LIMIT ?");
  const logRows = db.prepare(
    `SELECT ${columns} FROM ${joined} WHERE e.origin = ? AND e.sequence >= ?
     ORDER BY e.sequence LIMIT ?`,
  );
  const aliasRows = db.prepare(
    `SELECT a.sequence AS alias_sequence, ${columns}
     FROM alias a JOIN entry e ON e.id = a.entry LEFT JOIN producer p ON p.id = e.producer
     WHERE a.origin = ? AND a.sequence >= ? ORDER BY a.sequence LIMIT ?`,
  );
  const upsertRemoved = db.prepare(
    "INSERT INTO removed VALUES (?, ?, ?) ON CONFLICT(producer, epoch) DO UPDATE SET ranges = excluded.ranges",
  );

  let nextId = 1;
  let removedByKey = new Map<string, Range[]>();
  const load = () => {
    const last = Number(db.prepare("SELECT max(id) AS id FROM entry").get()?.["id"] ?? 0);
    const kept = Number(
      db.prepare("SELECT value FROM meta WHERE name = 'next_id'").get()?.["value"] ?? 1,
    );
    nextId = Math.max(last + 1, kept);
    removedByKey = new Map(
      db
        .prepare("SELECT producer, epoch, ranges FROM removed")
        .all()
        .map((row) => [
          `${row["producer"]}/${row["epoch"]}`,
          JSON.parse(String(row["ranges"])) as Range[],
        ]),
    );
  };
  load();

  const wasRemoved = (producer: number, epoch: number, sequence: number) =>
    removedByKey.size > 0 &&
    includesNumber(removedByKey.get(`${producer}/${epoch}`) ?? [], sequence);

  const count = (stream: StreamRow, bodyBytes: number) => {
    stream.entries++;
    stream.bytes += bodyBytes + entryOverheadBytes;
    stream.changed = true;
  };

  const toEntry = (row: Record<string, unknown>): Row => {
    const producer = row["producer"];
    const { name, scope } = names.streamById(row["stream"] as number);
    return {
      id: row["id"] as number,
      scope,
      stream: name,
      atMs: row["at_ms"] as number,
      ...(producer === null
        ? {}
        : {
            key: {
              producer: producer as string,
              epoch: row["epoch"] as number,
              sequence: row["producer_sequence"] as number,
            },
          }),
      body: row["body"] as Uint8Array,
      position: {
        origin: names.originById(row["origin"] as number).name,
        sequence: row["sequence"] as number,
      },
    };
  };

  return {
    insert(origin, sequence, stream, entry, { refuseRemoved }) {
      const { key, body } = entry;
      if (!key) {
        insertRow.run(nextId++, origin.id, sequence, stream.id, null, null, null, entry.atMs, body);
        count(stream, body.length);
        return { state: "stored" };
      }
      const producer = names.producer(stream, key.producer);
      if (refuseRemoved && wasRemoved(producer, key.epoch, key.sequence))
        return { state: "duplicate", at: undefined };
      const { changes } = insertRow.run(
        nextId,
        origin.id,
        sequence,
        stream.id,
        producer,
        key.epoch,
        key.sequence,
        entry.atMs,
        body,
      );
      if (changes === 1) {
        nextId++;
        count(stream, body.length);
        return { state: "stored" };
      }
      const row = findKey.get(producer, key.epoch, key.sequence);
      return {
        state: "duplicate",
        at: row && {
          origin: names.originById(Number(row["origin"])).name,
          sequence: Number(row["sequence"]),
        },
      };
    },

    alias(origin, sequence, stream, { key }) {
      const producer = key && names.findProducer(stream, key.producer);
      if (!key || producer === undefined) return;
      const row = findKey.get(producer, key.epoch, key.sequence);
      if (row) insertAlias.run(origin.id, sequence, Number(row["id"]));
    },

    page({ streams, afterId, fromMs, toMs, limit }) {
      const rows: Row[] = [];
      const [only] = streams;
      const last = nextId - 1;
      const scanEnd =
        only && streams.length === 1
          ? Number(streamRowAt.get(only.id, afterId, scannedRowsMax)?.["id"] ?? last)
          : Math.min(last, afterId + scannedRowsMax);
      const found =
        only && streams.length === 1
          ? pageOfStream.iterate(only.id, afterId, scanEnd, fromMs, toMs, limit + 1)
          : pageOfAll.iterate(afterId, scanEnd, fromMs, toMs);
      const wanted = new Set(streams.map(({ id }) => id));
      let bytes = 0;
      for (const row of found) {
        if (!wanted.has(Number(row["stream"]))) continue;
        if (rows.length >= limit || bytes >= pageBytesMax)
          return { rows, lastId: rows.at(-1)?.id ?? afterId, more: true };
        const entry = toEntry(row);
        rows.push(entry);
        bytes += entry.body.length;
      }
      return { rows, lastId: Math.max(afterId, scanEnd), more: scanEnd < last };
    },

    beforeNewest(streams, count) {
      const ids = streams.flatMap(({ id }) => newestIds.all(id, count + 1));
      return ids.map((row) => Number(row["id"])).sort((a, b) => b - a)[count] ?? 0;
    },

    log(origin, from, { entriesMax, bytesMax }) {
      const entries: StoredEntry[] = [];
      let bytes = 0;
      for (const { id: _id, scope: _scope, ...entry } of bySequence(
        map(logRows.iterate(origin.id, from, entriesMax + 1), toEntry),
        map(aliasRows.iterate(origin.id, from, entriesMax + 1), (row) => ({
          ...toEntry(row),
          position: { origin: origin.name, sequence: Number(row["alias_sequence"]) },
        })),
      )) {
        if (entries.length >= entriesMax || bytes >= bytesMax) return { entries, complete: false };
        entries.push(entry);
        bytes += entry.body.length;
      }
      return { entries, complete: true };
    },

    markRemoved(keys) {
      const added = new Map<string, number[]>();
      for (const { producer, epoch, sequence } of keys) {
        const at = `${producer}/${epoch}`;
        const values = added.get(at) ?? [];
        added.set(at, values);
        values.push(sequence);
      }
      for (const [at, values] of added) {
        const ranges = addNumbers(removedByKey.get(at) ?? [], values, removedRangesMax);
        removedByKey.set(at, ranges);
        const [producer, epoch] = at.split("/").map(Number);
        upsertRemoved.run(producer ?? 0, epoch ?? 0, JSON.stringify(ranges));
      }
    },

    get nextId() {
      return nextId;
    },
    forget: load,
  };
}

function* map<A, B>(items: Iterable<A>, change: (item: A) => B): Generator<B> {
  for (const item of items) yield change(item);
}

/** Two logs that each ascend by position, as one. */
function* bySequence<T extends StoredEntry>(left: Generator<T>, right: Generator<T>): Generator<T> {
  try {
    let [a, b] = [left.next(), right.next()];
    while (!a.done || !b.done) {
      if (!a.done && (b.done || a.value.position.sequence < b.value.position.sequence)) {
        yield a.value;
        a = left.next();
      } else if (!b.done) {
        yield b.value;
        b = right.next();
      }
    }
  } finally {
    left.return(undefined);
    right.return(undefined);
  }
}

/**
 * Interning of origins, streams and producers. The caches mirror what was written in the running
 * transaction: after a rollback `forget` must be called, or they would name rows that do not exist.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";

export type OriginRow = { readonly id: number; readonly name: string; top: number; hubTop: number };
export type StreamRow = {
  readonly id: number;
  readonly scope: string;
  readonly name: string;
  entries: number;
  bytes: number;
  droppedBeforeHub: number;
  droppedWhenFull: number;
  /** Counters changed since they were last written. */
  changed: boolean;
};

export interface Names {
  origin(scope: string, name: string): OriginRow;
  findOrigin(scope: string, name: string): OriginRow | undefined;
  origins(scope: string): readonly OriginRow[];
  originById(id: number): OriginRow;
  stream(scope: string, name: string): StreamRow;
  findStream(scope: string, name: string): StreamRow | undefined;
  streams(): readonly StreamRow[];
  streamById(id: number): StreamRow;
  producer(stream: StreamRow, name: string): number;
  findProducer(stream: StreamRow, name: string): number | undefined;
  producerById(id: number): string;
  readonly producers: number;
  writeTop(origin: OriginRow): void;
  writeHubTop(origin: OriginRow): void;
  /** Writes the counters that changed; once per piece of work. */
  writeCounters(): void;
  forget(): void;
}

const key = (scope: string, name: string) => `${scope}\n${name}`;

export function createNames(db: Database): Names {
  const originRows = new Map<string, OriginRow>();
  const originRowsById = new Map<number, OriginRow>();
  const streamRows = new Map<string, StreamRow>();
  const streamRowsById = new Map<number, StreamRow>();
  const producerIdsByStream = new Map<number, Map<string, number>>();
  const producerNamesById = new Map<number, string>();

  const insertOrigin = db.prepare("INSERT INTO origin(scope, name) VALUES (?, ?)");
  const insertStream = db.prepare("INSERT INTO stream(scope, name) VALUES (?, ?)");
  const insertProducer = db.prepare("INSERT INTO producer(stream, name) VALUES (?, ?)");
  const updateTop = db.prepare("UPDATE origin SET top = ? WHERE id = ?");
  const updateHubTop = db.prepare("UPDATE origin SET hub_top = ? WHERE id = ?");
  const updateCounters = db.prepare(
    `UPDATE stream SET entries = ?, bytes = ?, dropped_before_hub = ?, dropped_when_full = ?
     WHERE id = ?`,
  );

  const keepOrigin = (scope: string, row: OriginRow): OriginRow => {
    originRows.set(key(scope, row.name), row);
    originRowsById.set(row.id, row);
    return row;
  };
  const keepStream = (row: StreamRow): StreamRow => {
    streamRows.set(key(row.scope, row.name), row);
    streamRowsById.set(row.id, row);
    return row;
  };

  const load = () => {
    originRows.clear();
    originRowsById.clear();
    streamRows.clear();
    streamRowsById.clear();
    producerIdsByStream.clear();
    producerNamesById.clear();
    for (const row of db.prepare("SELECT id, scope, name, top, hub_top FROM origin").all()) {
      keepOrigin(String(row["scope"]), {
        id: Number(row["id"]),
        name: String(row["name"]),
        top: Number(row["top"]),
        hubTop: Number(row["hub_top"]),
      });
    }
    for (const row of db.prepare("SELECT * FROM stream").all()) {
      keepStream({
        id: Number(row["id"]),
        scope: String(row["scope"]),
        name: String(row["name"]),
        entries: Number(row["entries"]),
        bytes: Number(row["bytes"]),
        droppedBeforeHub: Number(row["dropped_before_hub"]),
        droppedWhenFull: Number(row["dropped_when_full"]),
        changed: false,
      });
    }
    for (const row of db.prepare("SELECT id, stream, name FROM producer").all())
      keepProducer(Number(row["stream"]), String(row["name"]), Number(row["id"]));
  };
  const keepProducer = (stream: number, name: string, id: number): number => {
    const ids = producerIdsByStream.get(stream) ?? new Map<string, number>();
    producerIdsByStream.set(stream, ids);
    ids.set(name, id);
    producerNamesById.set(id, name);
    return id;
  };
  load();

  return {
    origin(scope, name) {
      const known = originRows.get(key(scope, name));
      if (known) return known;
      const id = Number(insertOrigin.run(scope, name).lastInsertRowid);
      return keepOrigin(scope, { id, name, top: 0, hubTop: 0 });
    },
    findOrigin: (scope, name) => originRows.get(key(scope, name)),
    origins: (scope) =>
      [...originRows].filter(([at]) => at.startsWith(`${scope}\n`)).map(([, row]) => row),
    originById: (id) => present(originRowsById.get(id), "origin", id),
    stream(scope, name) {
      const known = streamRows.get(key(scope, name));
      if (known) return known;
      const id = Number(insertStream.run(scope, name).lastInsertRowid);
      return keepStream({
        id,
        scope,
        name,
        entries: 0,
        bytes: 0,
        droppedBeforeHub: 0,
        droppedWhenFull: 0,
        changed: false,
      });
    },
    findStream: (scope, name) => streamRows.get(key(scope, name)),
    streams: () => [...streamRows.values()],
    streamById: (id) => present(streamRowsById.get(id), "stream", id),
    producer(stream, name) {
      const known = producerIdsByStream.get(stream.id)?.get(name);
      if (known !== undefined) return known;
      const id = Number(insertProducer.run(stream.id, name).lastInsertRowid);
      return keepProducer(stream.id, name, id);
    },
    findProducer: (stream, name) => producerIdsByStream.get(stream.id)?.get(name),
    producerById: (id) => present(producerNamesById.get(id), "producer", id),
    get producers() {
      return producerNamesById.size;
    },
    writeTop: (origin) => void updateTop.run(origin.top, origin.id),
    writeHubTop: (origin) => void updateHubTop.run(origin.hubTop, origin.id),
    writeCounters() {
      for (const row of streamRows.values()) {
        if (!row.changed) continue;
        row.changed = false;
        const { entries, bytes, droppedBeforeHub, droppedWhenFull } = row;
        updateCounters.run(entries, bytes, droppedBeforeHub, droppedWhenFull, row.id);
      }
    },
    forget: load,
  };
}

function present<T>(row: T | undefined, table: string, id: number): T {
  if (row !== undefined) return row;
  throw new SkerryError({
    code: "store-damaged",
    message: `an entry names ${table} ${id}, which does not exist`,
    hint: "move the file (with its -wal and -shm) away; other nodes and the hub hold copies of what they acknowledged",
  });
}

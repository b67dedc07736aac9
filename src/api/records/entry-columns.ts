/** Entries side by side, from entries and back. */
import { createInterning } from "../../lib/interning.ts";
import type { StoredEntry } from "./entry.ts";

/**
 * Entries of one origin's log side by side: a value of each in every column, streams and producers by
 * their index. What moves thousands of them makes no object for each.
 */
export type EntryColumns = {
  readonly streams: readonly string[];
  readonly stream: readonly number[];
  readonly producers: readonly string[];
  /** -1: without a key; epoch and sequence are 0. */
  readonly producer: readonly number[];
  readonly epoch: readonly number[];
  readonly sequence: readonly number[];
  readonly atMs: readonly number[];
  /** In the log; ascending. */
  readonly position: readonly number[];
  /** Where each body ends in `bodies`; it begins where the one before it ends. */
  readonly end: readonly number[];
  readonly bodies: Uint8Array;
};

/** Their bodies are views of one buffer. */
export function entriesOf(origin: string, columns: EntryColumns): StoredEntry[] {
  const { streams, stream, producers, producer, bodies } = columns;
  let start = 0;
  return stream.map((streamIndex, index) => {
    const end = columns.end[index] ?? start;
    const name = producers[producer[index] ?? -1];
    const [epoch = 0, sequence = 0] = [columns.epoch[index], columns.sequence[index]];
    const entry: StoredEntry = {
      stream: streams[streamIndex] ?? "",
      atMs: columns.atMs[index] ?? 0,
      ...(name === undefined ? {} : { key: { producer: name, epoch, sequence } }),
      body: bodies.subarray(start, end),
      position: { origin, sequence: columns.position[index] ?? 0 },
    };
    start = end;
    return entry;
  });
}

export function columnsOf(entries: readonly StoredEntry[]): EntryColumns {
  const streams = createInterning((name: string) => name);
  const producers = createInterning((name: string) => name);
  let end = 0;
  return {
    streams: streams.names,
    stream: entries.map(({ stream }) => streams.indexOf(stream)),
    producers: producers.names,
    producer: entries.map(({ key }) => (key ? producers.indexOf(key.producer) : -1)),
    epoch: entries.map(({ key }) => key?.epoch ?? 0),
    sequence: entries.map(({ key }) => key?.sequence ?? 0),
    atMs: entries.map(({ atMs }) => atMs),
    position: entries.map(({ position }) => position.sequence),
    end: entries.map(({ body }) => (end += body.length)),
    bodies: Buffer.concat(entries.map(({ body }) => body)),
  };
}

/** Those at these indexes, which ascend; names that only others bear are not in it. */
export function pick(columns: EntryColumns, indexes: readonly number[]): EntryColumns {
  const streams = createInterning((name: string) => name);
  const producers = createInterning((name: string) => name);
  const parts: Uint8Array[] = [];
  const ends: number[] = [];
  let bytes = 0;
  /** Bodies that follow each other are one part. */
  let [from, to] = [0, 0];
  for (const index of indexes) {
    const [start, end] = [columns.end[index - 1] ?? 0, columns.end[index] as number];
    if (start !== to) {
      parts.push(columns.bodies.subarray(from, to));
      from = start;
    }
    to = end;
    bytes += end - start;
    ends.push(bytes);
  }
  parts.push(columns.bodies.subarray(from, to));
  const named = (names: readonly string[], at: number) => names[at] as string;
  const of = (values: readonly number[]) => indexes.map((index) => values[index] as number);
  return {
    streams: streams.names,
    stream: of(columns.stream).map((at) => streams.indexOf(named(columns.streams, at))),
    producers: producers.names,
    producer: of(columns.producer).map((at) =>
      at < 0 ? -1 : producers.indexOf(named(columns.producers, at)),
    ),
    epoch: of(columns.epoch),
    sequence: of(columns.sequence),
    atMs: of(columns.atMs),
    position: of(columns.position),
    end: ends,
    bodies: Buffer.concat(parts),
  };
}

/** With other bodies at these indexes, which ascend. */
export function withBodies(
  columns: EntryColumns,
  changed: readonly { readonly index: number; readonly body: Uint8Array }[],
): EntryColumns {
  if (changed.length === 0) return columns;
  const { end: ends, bodies } = columns;
  const parts: Uint8Array[] = [];
  const end = [...ends];
  let [kept, grown, next] = [0, 0, 0];
  for (let index = 0; index < ends.length; index++) {
    const one = changed[next];
    if (one?.index === index) {
      const start = ends[index - 1] ?? 0;
      parts.push(bodies.subarray(kept, start), one.body);
      kept = ends[index] as number;
      grown += one.body.length - (kept - start);
      next++;
    }
    end[index] = (ends[index] as number) + grown;
  }
  parts.push(bodies.subarray(kept));
  return { ...columns, end, bodies: Buffer.concat(parts) };
}

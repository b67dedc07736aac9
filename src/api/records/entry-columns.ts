/** Entries side by side, from entries and back. */
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
  const streams = intern();
  const producers = intern();
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

function intern() {
  const names: string[] = [];
  const indexes = new Map<string, number>();
  return {
    names,
    indexOf(text: string): number {
      const known = indexes.get(text);
      if (known !== undefined) return known;
      indexes.set(text, names.length);
      return names.push(text) - 1;
    },
  };
}

/**
 * Rows of one stream as a segment: a frame whose columns hold this store's own numbers for origins
 * and producers, so it means something only in the file it was sealed in. Ids and, by producer,
 * sequences ascend: most differences are 1.
 */
import { crc32 } from "node:zlib";
import { differences, frameContent, packContent, sums, unpackFrame } from "./frame.ts";

/** A row of the entry table; producer, epoch and producer_sequence stand together or not at all. */
export type SealedRow = {
  readonly id: number;
  readonly origin: number;
  readonly sequence: number;
  readonly key:
    | { readonly producer: number; readonly epoch: number; readonly sequence: number }
    | undefined;
  readonly atMs: number;
  readonly body: Uint8Array;
};

export type Segment = {
  /** Ascending. */
  readonly ids: readonly number[];
  readonly row: (index: number) => SealedRow;
  /** By index, of which origin's log and at which position. */
  readonly origins: readonly number[];
  readonly sequences: readonly number[];
  /** Of what it holds in memory. */
  readonly bytes: number;
};

type Header = {
  readonly id: readonly number[];
  readonly origin: readonly number[];
  readonly position: readonly number[];
  /** -1: without a key. */
  readonly producer: readonly number[];
  readonly epoch: readonly number[];
  /** Counted from the same producer's before. */
  readonly sequence: readonly number[];
  readonly at: readonly number[];
  readonly length: readonly number[];
};

/** Sealing stops far below. */
const unpackedBytesMax = 32 * 1024 * 1024;

export type EncodedSegment = {
  readonly bytes: Buffer;
  /** CRC-32 of what is packed: the same rows have the same, whatever packs them. */
  readonly sum: number;
};

export function encodeSegment(rows: readonly SealedRow[]): EncodedSegment {
  const lastByProducer = new Map<number, number>();
  const header: Header = {
    id: differences(rows.map(({ id }) => id)),
    origin: differences(rows.map(({ origin }) => origin)),
    position: differences(rows.map(({ sequence }) => sequence)),
    producer: rows.map(({ key }) => key?.producer ?? -1),
    epoch: differences(rows.map(({ key }) => key?.epoch ?? 0)),
    sequence: rows.map(({ key }) => {
      if (!key) return 0;
      const last = lastByProducer.get(key.producer) ?? 0;
      lastByProducer.set(key.producer, key.sequence);
      return key.sequence - last;
    }),
    at: differences(rows.map(({ atMs }) => atMs)),
    length: rows.map(({ body }) => body.length),
  };
  const content = frameContent(
    header,
    rows.map(({ body }) => body),
  );
  return { bytes: packContent(content), sum: crc32(content) };
}

/** Of bytes whose checksum was found right; throws on anything that `encodeSegment` did not make. */
export function decodeSegment(bytes: Uint8Array): Segment {
  const { header, bodies } = unpackFrame(bytes, unpackedBytesMax);
  const columns = header as Header;
  // Held by `row`; the rest of the header is not, and goes.
  const producers = columns.producer;
  const lastByProducer = new Map<number, number>();
  const keySequences = columns.sequence.map((difference, index) => {
    const producer = at(producers, index);
    if (producer < 0) return 0;
    const sequence = (lastByProducer.get(producer) ?? 0) + difference;
    lastByProducer.set(producer, sequence);
    return sequence;
  });
  const [ids, origins, sequences, epochs, times, ends] = [
    sums(columns.id),
    sums(columns.origin),
    sums(columns.position),
    sums(columns.epoch),
    sums(columns.at),
    sums(columns.length),
  ];
  if (ends.at(-1) !== bodies.length) throw new Error("the bodies of a segment are cut short");
  return {
    ids,
    origins,
    sequences,
    row(index) {
      const producer = at(producers, index);
      return {
        id: at(ids, index),
        origin: at(origins, index),
        sequence: at(sequences, index),
        key:
          producer < 0
            ? undefined
            : { producer, epoch: at(epochs, index), sequence: at(keySequences, index) },
        atMs: at(times, index),
        body: bodies.subarray(ends[index - 1] ?? 0, at(ends, index)),
      };
    },
    bytes: bodies.length + ids.length * columnBytes,
  };
}

/** Eight columns of numbers. */
const columnBytes = 64;

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new Error(`a segment has no entry ${index}`);
  return value;
}

/**
 * Rows of one stream as a segment: a frame whose columns hold this store's own numbers for origins
 * and producers, so it means something only in the file it was sealed in. Ids and, by producer,
 * sequences ascend: most differences are 1.
 */
import { crc32 } from "node:zlib";
import {
  differences,
  differencesBy,
  frameContent,
  packContent,
  requireColumns,
  sums,
  sumsBy,
  unpackFrame,
} from "./frame.ts";

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

/** Rows side by side: a value of each in every column. */
export type SegmentColumns = {
  /** Ascending. */
  readonly ids: readonly number[];
  /** Of which origin's log and at which position. */
  readonly origins: readonly number[];
  readonly sequences: readonly number[];
  /** -1: without a key; epoch and sequence are 0. */
  readonly producers: readonly number[];
  readonly epochs: readonly number[];
  readonly keySequences: readonly number[];
  readonly times: readonly number[];
  /** Where each body ends in `bodies`; it begins where the one before it ends. */
  readonly ends: readonly number[];
  readonly bodies: Uint8Array;
};

export type Segment = SegmentColumns & {
  readonly row: (index: number) => SealedRow;
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

export function encodeSegment(columns: SegmentColumns): EncodedSegment {
  const { producers, bodies } = columns;
  const header: Header = {
    id: differences(columns.ids),
    origin: differences(columns.origins),
    position: differences(columns.sequences),
    producer: producers,
    epoch: differences(columns.epochs),
    sequence: differencesBy(producers, columns.keySequences),
    at: differences(columns.times),
    length: differences(columns.ends),
  };
  const content = frameContent(header, [bodies]);
  return { bytes: packContent(content), sum: crc32(content) };
}

/** Of bytes whose checksum was found right; throws on anything that `encodeSegment` did not make. */
export function decodeSegment(bytes: Uint8Array): Segment {
  const { header, bodies } = unpackFrame(bytes, unpackedBytesMax);
  const { producer, ...packed } = header as Header;
  const columns: SegmentColumns = {
    ids: sums(packed.id),
    origins: sums(packed.origin),
    sequences: sums(packed.position),
    producers: producer,
    epochs: sums(packed.epoch),
    keySequences: sumsBy(producer, packed.sequence),
    times: sums(packed.at),
    ends: sums(packed.length),
    bodies,
  };
  const { ids, origins, sequences, epochs, keySequences, times, ends } = columns;
  requireColumns({
    summed: [ids, origins, sequences, epochs, times, ends],
    others: [producer, keySequences],
  });
  if (ends.at(-1) !== bodies.length) throw new Error("the bodies of a segment are cut short");
  return {
    ...columns,
    row: (index) => rowAt(columns, index),
    bytes: bodies.length + ids.length * columnBytes,
  };
}

/** Eight columns of numbers. */
const columnBytes = 64;

function rowAt(columns: SegmentColumns, index: number): SealedRow {
  const { producers, ends, bodies } = columns;
  const producer = at(producers, index);
  return {
    id: at(columns.ids, index),
    origin: at(columns.origins, index),
    sequence: at(columns.sequences, index),
    key:
      producer < 0
        ? undefined
        : {
            producer,
            epoch: at(columns.epochs, index),
            sequence: at(columns.keySequences, index),
          },
    atMs: at(columns.times, index),
    body: bodies.subarray(ends[index - 1] ?? 0, at(ends, index)),
  };
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new Error(`a segment has no entry ${index}`);
  return value;
}

export function columnsOfRows(rows: readonly SealedRow[]): SegmentColumns {
  let end = 0;
  return {
    ids: rows.map(({ id }) => id),
    origins: rows.map(({ origin }) => origin),
    sequences: rows.map(({ sequence }) => sequence),
    producers: rows.map(({ key }) => key?.producer ?? -1),
    epochs: rows.map(({ key }) => key?.epoch ?? 0),
    keySequences: rows.map(({ key }) => key?.sequence ?? 0),
    times: rows.map(({ atMs }) => atMs),
    ends: rows.map(({ body }) => (end += body.length)),
    bodies: Buffer.concat(rows.map(({ body }) => body)),
  };
}

/** Those from `first` up to `end`. */
export function sliceColumns(columns: SegmentColumns, first: number, end: number): SegmentColumns {
  if (first === 0 && end >= columns.ids.length) return columns;
  const { ends, bodies } = columns;
  const start = ends[first - 1] ?? 0;
  return {
    ids: columns.ids.slice(first, end),
    origins: columns.origins.slice(first, end),
    sequences: columns.sequences.slice(first, end),
    producers: columns.producers.slice(first, end),
    epochs: columns.epochs.slice(first, end),
    keySequences: columns.keySequences.slice(first, end),
    times: columns.times.slice(first, end),
    ends: ends.slice(first, end).map((bodyEnd) => bodyEnd - start),
    bodies: bodies.subarray(start, ends[end - 1] ?? start),
  };
}

/** The second behind the first. */
export function joinColumns(one: SegmentColumns, other: SegmentColumns): SegmentColumns {
  const start = one.bodies.length;
  return {
    ids: [...one.ids, ...other.ids],
    origins: [...one.origins, ...other.origins],
    sequences: [...one.sequences, ...other.sequences],
    producers: [...one.producers, ...other.producers],
    epochs: [...one.epochs, ...other.epochs],
    keySequences: [...one.keySequences, ...other.keySequences],
    times: [...one.times, ...other.times],
    ends: [...one.ends, ...other.ends.map((end) => start + end)],
    bodies: Buffer.concat([one.bodies, other.bodies]),
  };
}

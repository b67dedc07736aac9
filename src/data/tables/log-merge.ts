/**
 * An origin's log in columns: what is sealed of each stream, rows, and positions of entries that stand
 * elsewhere, merged by position. Runs out of segments are taken as they are; no entry is an object.
 */
import type { EntryColumns } from "../../api/index.ts";
import { createInterning } from "../../lib/interning.ts";
import type { SealedRow, SegmentColumns } from "../batch/segment.ts";
import type { Names, StreamRow } from "./names.ts";

export type LogLimits = {
  readonly entriesMax: number;
  /** Of bodies; it ends with the entry that reaches it. */
  readonly bytesMax: number;
};

/** One of the things that a log is merged from. */
export interface LogSource {
  /** The next position at or behind which it has something; Infinity at its end. */
  readonly head: number;
  /** What it has before `end`, and at `head` at least, or says better where that is. */
  take(end: number, into: LogBuilder): void;
}

export interface LogBuilder {
  readonly isFull: boolean;
  readonly count: number;
  addRow(stream: StreamRow, row: SealedRow): void;
  /** At this index of an opened segment. */
  addSealed(stream: StreamRow, segment: SegmentColumns, index: number): void;
  columns(): EntryColumns;
}

/**
 * By position, up to `to`; `complete`: nothing is left before that. What a source throws is thrown where
 * nothing was taken, or `endsAt` says that it is no end.
 */
export function mergeLog(
  sources: readonly LogSource[],
  builder: LogBuilder,
  { to, endsAt }: { to: number; endsAt: (error: unknown) => boolean },
): { readonly complete: boolean } {
  for (;;) {
    let least: LogSource | undefined;
    let [head, next] = [Infinity, Infinity];
    for (const source of sources) {
      if (source.head < head) [least, head, next] = [source, source.head, head];
      else if (source.head < next) next = source.head;
    }
    if (!least || head > to) return { complete: true };
    if (builder.isFull) return { complete: false };
    try {
      least.take(Math.min(next, to + 1), builder);
    } catch (error) {
      if (builder.count === 0 || !endsAt(error)) throw error;
      return { complete: false };
    }
  }
}

export function createLogBuilder(names: Names, { entriesMax, bytesMax }: LogLimits): LogBuilder {
  const streams = createInterning((id: number) => names.streamById(id).name);
  const producers = createInterning((id: number) => names.producerById(id));
  const stream: number[] = [];
  const producer: number[] = [];
  const epoch: number[] = [];
  const sequence: number[] = [];
  const atMs: number[] = [];
  const position: number[] = [];
  const end: number[] = [];
  const parts: Uint8Array[] = [];
  let bytes = 0;
  /** Bodies that follow each other in one buffer are one part. */
  let run: { bodies: Uint8Array; from: number; to: number } | undefined;
  const endRun = () => {
    if (run) parts.push(run.bodies.subarray(run.from, run.to));
    run = undefined;
  };
  const addBody = (bodies: Uint8Array, from: number, to: number) => {
    if (run?.bodies === bodies && run.to === from) run.to = to;
    else {
      endRun();
      run = { bodies, from, to };
    }
    bytes += to - from;
    end.push(bytes);
  };

  return {
    get isFull() {
      return stream.length >= entriesMax || bytes >= bytesMax;
    },
    get count() {
      return stream.length;
    },
    addRow({ id }, { key, atMs: rowMs, body, sequence: at }) {
      stream.push(streams.indexOf(id));
      producer.push(key ? producers.indexOf(key.producer) : -1);
      epoch.push(key?.epoch ?? 0);
      sequence.push(key?.sequence ?? 0);
      atMs.push(rowMs);
      position.push(at);
      addBody(body, 0, body.length);
    },
    addSealed({ id }, segment, index) {
      const { producers: numbers, ends } = segment;
      const number = numbers[index] as number;
      stream.push(streams.indexOf(id));
      producer.push(number < 0 ? -1 : producers.indexOf(number));
      epoch.push(segment.epochs[index] as number);
      sequence.push(segment.keySequences[index] as number);
      atMs.push(segment.times[index] as number);
      position.push(segment.sequences[index] as number);
      addBody(segment.bodies, ends[index - 1] ?? 0, ends[index] as number);
    },
    columns() {
      endRun();
      const [only] = parts;
      return {
        ...{ streams: streams.names, stream, producers: producers.names, producer },
        ...{ epoch, sequence, atMs, position, end },
        bodies: only && parts.length === 1 ? only : Buffer.concat(parts),
      };
    },
  };
}

/**
 * A piece of an origin's log as bytes for a link: "SKL1", then one frame (`frame.ts`; about 25 bytes
 * an entry of 120). What comes in is checked field by field: `invalid-batch`.
 */
import type { StoredEntry } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { atMsMax, bodyBytesMax } from "../streams/check.ts";
import type { LogBatch } from "../streams/store.ts";
import { differences, packFrame, unpackFrame } from "./frame.ts";
import { headerProblem, type Header } from "./header.ts";

const magic = Buffer.from("SKL1");
/** What one batch may unpack to; a sender stops far below. */
const unpackedBytesMax = 8 * 1024 * 1024;

export function encodeBatch(batch: LogBatch): Uint8Array {
  const { origin, from, to, entries, policies } = batch;
  const streams = intern();
  const producers = intern();
  const header: Omit<Header, "policies"> & Pick<LogBatch, "policies"> = {
    origin,
    from,
    to,
    streams: streams.names,
    producers: producers.names,
    stream: entries.map(({ stream }) => streams.indexOf(stream)),
    producer: entries.map(({ key }) => (key ? producers.indexOf(key.producer) : -1)),
    epoch: differences(entries.map(({ key }) => key?.epoch ?? 0)),
    sequence: differences(entries.map(({ key }) => key?.sequence ?? 0)),
    at: differences(entries.map(({ atMs }) => atMs)),
    position: differences(entries.map(({ position }) => position.sequence)),
    length: entries.map(({ body }) => body.length),
    ...(policies ? { policies } : {}),
  };
  const bodies = entries.map(({ body }) => body);
  return Buffer.concat([magic, packFrame(header, bodies)]);
}

/** Throws `invalid-batch`; a batch that was decoded is whole and within every bound. */
export function decodeBatch(bytes: Uint8Array): LogBatch {
  if (bytes.length < 4 || magic.compare(bytes, 0, 4) !== 0)
    throw invalid("does not start with SKL1");
  let bodies: Buffer;
  let json: unknown;
  try {
    ({ header: json, bodies } = unpackFrame(bytes.subarray(4), unpackedBytesMax));
  } catch (cause) {
    throw invalid("cannot be unpacked", cause);
  }
  const problem = headerProblem(json);
  if (problem !== undefined) throw invalid(problem);
  const header = json as Header;
  const count = header.stream.length;
  for (const column of ["producer", "epoch", "sequence", "at", "position", "length"] as const) {
    if (header[column].length !== count)
      throw invalid(`${column}: ${header[column].length} values for ${count} entries`);
  }
  const entries = readEntries(header, bodies);
  const { origin, from, to, policies } = header;
  return { origin, from, to, entries, ...(policies ? { policies } : {}) };
}

function readEntries(header: Header, bodies: Buffer): StoredEntry[] {
  const entries: StoredEntry[] = [];
  let [epoch, sequence, atMs, position, start] = [0, 0, 0, 0, 0];
  let last = header.from - 1;
  for (const [index, streamIndex] of header.stream.entries()) {
    const stream = header.streams[streamIndex];
    const producerIndex = header.producer[index] ?? -1;
    const producer = header.producers[producerIndex];
    const length = header.length[index] ?? -1;
    epoch += header.epoch[index] ?? 0;
    sequence += header.sequence[index] ?? 0;
    atMs += header.at[index] ?? 0;
    position += header.position[index] ?? 0;
    const problem =
      stream === undefined
        ? "stream"
        : producerIndex !== -1 && producer === undefined
          ? "producer"
          : !(Number.isSafeInteger(epoch) && epoch >= 0)
            ? "epoch"
            : !(Number.isSafeInteger(sequence) && sequence >= (producer === undefined ? 0 : 1))
              ? "sequence"
              : !(atMs >= 0 && atMs <= atMsMax)
                ? "at"
                : !(position > last && position <= header.to)
                  ? "position"
                  : !(length >= 0 && length <= bodyBytesMax && start + length <= bodies.length)
                    ? "length"
                    : undefined;
    if (problem !== undefined || stream === undefined)
      throw invalid(`entry ${index}: ${problem} is out of range`);
    entries.push({
      stream,
      atMs,
      ...(producer === undefined ? {} : { key: { producer, epoch, sequence } }),
      body: bodies.subarray(start, start + length),
      position: { origin: header.origin, sequence: position },
    });
    start += length;
    last = position;
  }
  if (start !== bodies.length) throw invalid(`${bodies.length - start} bytes left over`);
  return entries;
}

function invalid(problem: string, cause?: unknown): SkerryError {
  return new SkerryError({
    code: "invalid-batch",
    message: `a batch of entries was refused: ${problem}`,
    hint: "nothing of it was stored; the sender runs another version, or is not what it says it is",
    cause,
  });
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

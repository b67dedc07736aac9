/**
 * A piece of an origin's log as bytes for a link: "SKL1", then one frame (`frame.ts`; about 25 bytes
 * an entry of 120). What comes in is checked field by field: `invalid-batch`.
 */
import { columnsOf, entriesOf, type EntryColumns } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { atMsMax, bodyBytesMax } from "../streams/check.ts";
import type { ColumnBatch, LogBatch } from "../streams/store.ts";
import { differences, packFrame, sums, unpackFrame } from "./frame.ts";
import { headerProblem, type Header } from "./header.ts";

const magic = Buffer.from("SKL1");
/** What one batch may unpack to; a sender stops far below. */
const unpackedBytesMax = 8 * 1024 * 1024;

export function encodeBatch(batch: LogBatch | ColumnBatch): Uint8Array {
  const { origin, from, to, policies } = batch;
  const columns = "columns" in batch ? batch.columns : columnsOf(batch.entries);
  const { streams, producers, stream, producer, bodies } = columns;
  const header: Omit<Header, "policies"> & Pick<LogBatch, "policies"> = {
    origin,
    from,
    to,
    streams,
    producers,
    stream,
    producer,
    epoch: differences(columns.epoch),
    sequence: differences(columns.sequence),
    at: differences(columns.atMs),
    position: differences(columns.position),
    length: differences(columns.end),
    ...(policies ? { policies } : {}),
  };
  return Buffer.concat([magic, packFrame(header, [bodies])]);
}

export const toLogBatch = ({ columns, ...batch }: ColumnBatch): LogBatch => ({
  ...batch,
  entries: entriesOf(batch.origin, columns),
});

/** As `decodeColumns`. */
export const decodeBatch = (bytes: Uint8Array): LogBatch => toLogBatch(decodeColumns(bytes));

/** Throws `invalid-batch`; a batch that was decoded is whole and within every bound. */
export function decodeColumns(bytes: Uint8Array): ColumnBatch {
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
  const columns = readColumns(header, bodies);
  const { origin, from, to, policies } = header;
  return { origin, from, to, columns, ...(policies ? { policies } : {}) };
}

function readColumns(header: Header, bodies: Buffer): EntryColumns {
  const { streams, stream, producers, producer, from, to } = header;
  const columns: EntryColumns = {
    ...{ streams, stream, producers, producer, bodies },
    epoch: sums(header.epoch),
    sequence: sums(header.sequence),
    atMs: sums(header.at),
    position: sums(header.position),
    end: sums(header.length),
  };
  let [last, start] = [from - 1, 0];
  for (let index = 0; index < stream.length; index++) {
    const value = (column: readonly number[]) => column[index] as number;
    const [position, end] = [value(columns.position), value(columns.end)];
    const wrong =
      streams[value(stream)] === undefined
        ? "stream"
        : !isKey(producers, value(producer), value(columns.epoch), value(columns.sequence))
          ? "producer, epoch or sequence"
          : !(value(columns.atMs) >= 0 && value(columns.atMs) <= atMsMax)
            ? "at"
            : !(position > last && position <= to)
              ? "position"
              : !(end >= start && end - start <= bodyBytesMax && end <= bodies.length)
                ? "length"
                : undefined;
    if (wrong !== undefined) throw invalid(`entry ${index}: ${wrong} is out of range`);
    [last, start] = [position, end];
  }
  if (start !== bodies.length) throw invalid(`${bodies.length - start} bytes left over`);
  return columns;
}

function isKey(
  producers: readonly string[],
  producer: number,
  epoch: number,
  sequence: number,
): boolean {
  if (producer === -1) return epoch === 0 && sequence === 0;
  if (producers[producer] === undefined) return false;
  return (
    Number.isSafeInteger(epoch) && epoch >= 0 && Number.isSafeInteger(sequence) && sequence >= 1
  );
}

function invalid(problem: string, cause?: unknown): SkerryError {
  return new SkerryError({
    code: "invalid-batch",
    message: `a batch of entries was refused: ${problem}`,
    hint: "nothing of it was stored; the sender runs another version, or is not what it says it is",
    cause,
  });
}

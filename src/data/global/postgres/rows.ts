/**
 * Rows of `skerry.entry` as PostgreSQL's binary COPY takes them
 * (postgresql.org/docs/current/sql-copy.html, "Binary Format"): no numbers are turned into text and
 * back, and bodies are copied as they came.
 */
export type EntryRow = {
  readonly position: number;
  readonly epoch: number | undefined;
  readonly sequence: number | undefined;
  readonly producer: string | undefined;
  readonly atMs: number;
  readonly cell: number;
  readonly stream: number;
  readonly origin: number;
  readonly body: Uint8Array;
};

export const copyEntries = `COPY skerry.entry(batch, position, epoch, sequence, at, cell, stream, origin, n, producer, body)
  FROM STDIN WITH (FORMAT binary)`;

const columns = 11;
const chunkBytes = 256 * 1024;
/** Timestamps count microseconds from 2000-01-01. */
const epochMs = Date.UTC(2000, 0, 1);
const head = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
const tail = Buffer.from([0xff, 0xff]);

/** `n` counts from 0 in the order given. */
export function encodeRows(batch: number, rows: readonly EntryRow[]): Buffer[] {
  const chunks: Buffer[] = [head];
  for (let first = 0; first < rows.length;) {
    const producers: (Buffer | undefined)[] = [];
    let bytes = 0;
    let end = first;
    for (; end < rows.length && bytes < chunkBytes; end++) {
      const row = rows[end] as EntryRow;
      const producer = row.producer === undefined ? undefined : Buffer.from(row.producer);
      producers.push(producer);
      // Nine numbers of 4 or 8 bytes at most, each column behind its length.
      bytes += 2 + columns * 4 + 5 * 8 + 4 * 4 + (producer?.length ?? 0) + row.body.length;
    }
    const chunk = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (let index = first; index < end; index++)
      at = writeRow(chunk, at, rows[index] as EntryRow, batch, index, producers[index - first]);
    chunks.push(chunk.subarray(0, at));
    first = end;
  }
  chunks.push(tail);
  return chunks;
}

function writeRow(
  chunk: Buffer,
  from: number,
  row: EntryRow,
  batch: number,
  n: number,
  producer: Buffer | undefined,
): number {
  let at = chunk.writeInt16BE(columns, from);
  at = writeLong(chunk, at, batch);
  at = writeLong(chunk, at, row.position);
  at = writeLong(chunk, at, row.epoch);
  at = writeLong(chunk, at, row.sequence);
  at = writeLong(chunk, at, (row.atMs - epochMs) * 1000);
  at = writeInt(chunk, at, row.cell);
  at = writeInt(chunk, at, row.stream);
  at = writeInt(chunk, at, row.origin);
  at = writeInt(chunk, at, n);
  at = writeBytes(chunk, at, producer);
  return writeBytes(chunk, at, row.body);
}

function writeInt(chunk: Buffer, at: number, value: number): number {
  return chunk.writeInt32BE(value, chunk.writeInt32BE(4, at));
}

/** Undefined: null. */
function writeLong(chunk: Buffer, at: number, value: number | undefined): number {
  if (value === undefined) return chunk.writeInt32BE(-1, at);
  const high = Math.floor(value / 0x1_0000_0000);
  const next = chunk.writeInt32BE(high, chunk.writeInt32BE(8, at));
  return chunk.writeUInt32BE(value - high * 0x1_0000_0000, next);
}

function writeBytes(chunk: Buffer, at: number, value: Uint8Array | undefined): number {
  if (value === undefined) return chunk.writeInt32BE(-1, at);
  const next = chunk.writeInt32BE(value.length, at);
  chunk.set(value, next);
  return next + value.length;
}

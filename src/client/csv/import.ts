/**
 * A CSV file into a stream. The file is read twice: once to check every row and to learn the types
 * of its columns, so that a bad file changes nothing, and once to send it. Row n is the entry
 * (`import/FILE`, 1, n), so that an import that was cut off is simply run again: what is there is
 * counted as a duplicate.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import { ambientClock } from "../ambient.ts";
import { createCaller, type ClientOptions } from "../caller.ts";
import { appendLines, type AppendResult } from "../streams-append.ts";
import { createColumnReader, entryOf, type Columns } from "./columns.ts";
import { parseCsv } from "./parse.ts";

export type CsvSource = {
  /** Follows the content: another file, another id. */
  readonly id: string;
  /** For messages. */
  readonly name: string;
  readonly bytes: number;
  /** The content from its beginning; called twice. */
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
};

export type ImportProgress = {
  readonly phase: "checking" | "sending";
  readonly rows: number;
  readonly bytes: number;
  readonly totalBytes: number;
};

export type ImportResult = {
  readonly rows: number;
  readonly stored: number;
  readonly duplicates: number;
  /** Entries that are stored, but did not reach the durability level asked for in time. */
  readonly short: number;
  /** The column that gave the entries their time. */
  readonly timeColumn?: string;
};

export type ImportOptions = ClientOptions & {
  readonly stream: string;
  readonly durability?: string;
  readonly onProgress?: (progress: ImportProgress) => void;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
};

/** One line of NDJSON each. */
export type SendBatch = (lines: readonly string[]) => Promise<AppendResult>;

const batchRows = 1000;
const batchCharacters = 512 * 1024;

/**
 * Throws `invalid-csv` before anything is sent, what the server answered, or the signal's reason.
 * Whatever happened, the import can be run again.
 */
export async function importCsv(source: CsvSource, options: ImportOptions): Promise<ImportResult> {
  const { stream, durability, signal, clock = ambientClock } = options;
  const deps = { call: createCaller(options), clock };
  return sendCsv(source, {
    ...options,
    // Each row has a key.
    send: (lines) => appendLines(deps, stream, lines, { durability, signal, isKeyed: true }),
  });
}

/** The same with any way of sending. */
export async function sendCsv(
  source: CsvSource,
  options: {
    readonly send: SendBatch;
    readonly onProgress?: (progress: ImportProgress) => void;
    readonly signal?: AbortSignal;
  },
): Promise<ImportResult> {
  const columns = await check(source, options);
  const producer = `import/${source.id}`;
  const meter = createMeter(source, "sending", options);
  const total = { rows: 0, stored: 0, duplicates: 0, short: 0 };
  let lines: string[] = [];
  let characters = 0;
  const flush = async () => {
    if (lines.length === 0) return;
    const { stored, duplicates, asked } = await options.send(lines);
    total.stored += stored;
    total.duplicates += duplicates;
    if (asked !== undefined) total.short += lines.length;
    total.rows += lines.length;
    lines = [];
    characters = 0;
    meter.report(total.rows);
  };
  let row = -1;
  for await (const { fields } of parseCsv(meter.chunks())) {
    if (++row === 0) continue;
    const { body, atMs } = entryOf(columns, fields);
    const $key = { producer, epoch: 1, sequence: row };
    const line = JSON.stringify({ ...body, $key, ...(atMs === undefined ? {} : { $at: atMs }) });
    lines.push(line);
    characters += line.length;
    if (lines.length >= batchRows || characters >= batchCharacters) await flush();
  }
  await flush();
  const timeColumn = columns.time === undefined ? undefined : columns.names[columns.time];
  return { ...total, ...(timeColumn === undefined ? {} : { timeColumn }) };
}

async function check(
  source: CsvSource,
  options: Parameters<typeof createMeter>[2],
): Promise<Columns> {
  const meter = createMeter(source, "checking", options);
  const reader = createColumnReader();
  let rows = 0;
  for await (const row of parseCsv(meter.chunks())) {
    reader.add(row);
    if (++rows % 10_000 === 0) meter.report(rows);
  }
  if (rows <= 1) {
    throw new SkerryError({
      code: "invalid-csv",
      message: `${source.name} has no rows${rows === 1 ? " after its header" : ""}`,
    });
  }
  return reader.finish();
}

function createMeter(
  source: CsvSource,
  phase: ImportProgress["phase"],
  options: {
    readonly onProgress?: (progress: ImportProgress) => void;
    readonly signal?: AbortSignal;
  },
) {
  let bytes = 0;
  return {
    async *chunks() {
      for await (const chunk of source.chunks()) {
        options.signal?.throwIfAborted();
        bytes += chunk.length;
        yield chunk;
      }
    },
    report: (rows: number) =>
      options.onProgress?.({ phase, rows, bytes, totalBytes: source.bytes }),
  };
}

/**
 * A request body to entries: NDJSON (one JSON object a line), a JSON array of objects, or one
 * object. Everything is checked before anything is stored. Works in slices, so that a large body
 * does not hold up the thread.
 */
import type { EntryInput, EntryKey } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import {
  entryBytesMax,
  objectEntry,
  parseExactly,
  parseObjectEntry,
  type EntryResult,
} from "../entry-body.ts";

/** Entries in one request. */
export const entriesMax = 10_000;
/** Parsed between two turns of the event loop: a few milliseconds on a small machine. */
const sliceBytes = 128 * 1024;
const newline = 0x0a;

export type BodyFormat = "lines" | "json";

/** Throws `invalid-entry` naming line (from 1) and field. `firstKey` numbers the lines from its sequence. */
export async function parseEntries(
  body: Uint8Array,
  options: { format: BodyFormat; stream: string; firstKey?: EntryKey },
): Promise<EntryInput[]> {
  const entries: EntryInput[] = [];
  const add = (result: EntryResult, where: string) => {
    if (!result.ok) {
      const { field, message } = result.problem;
      throw invalidEntry(`${where}: ${field === "" ? "the entry" : field} ${message}`);
    }
    if (entries.length >= entriesMax)
      throw invalidEntry(`${where}: more than ${entriesMax} entries in one request`);
    const { entry } = result;
    if (entry.key && options.firstKey)
      throw invalidEntry(`${where}: $key is given beside Skerry-Producer; give one of them`);
    const key = entry.key ?? numbered(options.firstKey, entries.length);
    entries.push({ stream: options.stream, ...entry, ...(key ? { key } : {}) });
  };

  if (options.format === "json") {
    const value = parseDocument(body);
    const items = Array.isArray(value) ? value : [value];
    for (const [index, item] of items.entries()) {
      add(objectEntry(item), Array.isArray(value) ? `element ${index + 1}` : "body");
      if (index % 1000 === 999) await nextTurn();
    }
  } else {
    let line = 0;
    let sliceEnd = sliceBytes;
    for (let start = 0; start < body.length;) {
      const found = body.indexOf(newline, start);
      const end = found === -1 ? body.length : found;
      line++;
      const bytes = withoutReturn(body.subarray(start, end));
      // Blank lines separate, as the NDJSON specification allows a parser to treat them.
      if (bytes.length > 0) add(parseObjectEntry(bytes), `line ${line}`);
      start = end + 1;
      if (start < sliceEnd) continue;
      sliceEnd = start + sliceBytes;
      await nextTurn();
    }
  }
  if (entries.length === 0) throw invalidEntry("body: there is no entry in it");
  return entries;
}

function parseDocument(body: Uint8Array): unknown {
  try {
    return parseExactly(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-entry",
      message: `body: is not JSON in UTF-8: ${cause instanceof Error ? cause.message : cause}`,
      hint: "for one JSON object a line send content-type: application/x-ndjson",
      cause,
    });
  }
}

function numbered(first: EntryKey | undefined, index: number): EntryKey | undefined {
  return first && { ...first, sequence: first.sequence + index };
}

function withoutReturn(line: Uint8Array): Uint8Array {
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

const invalidEntry = (message: string) =>
  new SkerryError({
    code: "invalid-entry",
    message,
    hint: `one JSON object of at most ${entryBytesMax} bytes each; nothing of this request was stored`,
  });

/** Validation of what is appended: every refusal names the field, the value and what is allowed. */
import { isUtf8 } from "node:buffer";
import { entryLimits, type EntryInput } from "../../api/records/index.ts";
import { hintForUnknown } from "../unknown.ts";
import type { SkerryErrorInit } from "../../lib/errors.ts";

export const entriesPerRequestMax = 10_000;
export const requestBytesMax = 16 * 1024 * 1024;
export const { bodyBytesMax, producerBytesMax, atMsMax } = entryLimits;

export type Complaint = Pick<SkerryErrorInit, "code" | "message" | "hint">;

/**
 * All but the inside of bodies: `stream-unknown`, `invalid-entry`, `batch-too-large`,
 * `body-too-large`. `declared` answers whether a stream exists.
 */
export function checkRequest(
  entries: readonly EntryInput[],
  declared: ReadonlyMap<string, unknown>,
): Complaint | undefined {
  if (entries.length > entriesPerRequestMax) {
    return {
      code: "batch-too-large",
      message: `entries: ${entries.length} in one request`,
      hint: `send at most ${entriesPerRequestMax} at a time`,
    };
  }
  let bytes = 0;
  for (const [index, entry] of entries.entries()) {
    const complaint = checkEntry(entry, index, declared);
    if (complaint) return complaint;
    bytes += entry.body.length;
  }
  if (bytes > requestBytesMax) {
    return {
      code: "batch-too-large",
      message: `entries: ${bytes} bytes in one request`,
      hint: `send at most ${requestBytesMax} bytes at a time`,
    };
  }
  return undefined;
}

function checkEntry(
  entry: EntryInput,
  index: number,
  declared: ReadonlyMap<string, unknown>,
): Complaint | undefined {
  const invalid = (field: string, problem: string): Complaint => ({
    code: "invalid-entry",
    message: `entries[${index}].${field}: ${problem}`,
  });
  if (typeof entry.stream !== "string") return invalid("stream", "must be a name");
  if (!declared.has(entry.stream)) return unknownStream(entry.stream, declared.keys());
  const { atMs, key, body } = entry;
  if (atMs !== undefined && !(Number.isSafeInteger(atMs) && atMs >= 0 && atMs <= atMsMax))
    return invalid("at", `${atMs} must be whole milliseconds from 0 (1970) to ${atMsMax} (2100)`);
  if (key !== undefined) {
    const { producer, epoch, sequence } = key;
    if (typeof producer !== "string" || producer === "")
      return invalid("producer", "must be a name of at least one character");
    const producerBytes = Buffer.byteLength(producer);
    if (producerBytes > producerBytesMax)
      return invalid("producer", `${producerBytes} bytes long, at most ${producerBytesMax}`);
    // Not storable as it was sent: SQLite's text would end there, or come back changed.
    if (producer.includes("\0") || !producer.isWellFormed())
      return invalid("producer", "must be well-formed text without NUL");
    if (!Number.isSafeInteger(epoch) || epoch < 0)
      return invalid("epoch", `${epoch} must be a whole number from 0 to 2^53-1`);
    if (!Number.isSafeInteger(sequence) || sequence < 1)
      return invalid("sequence", `${sequence} must be a whole number from 1 to 2^53-1`);
  }
  if (!(body instanceof Uint8Array)) return invalid("body", "must be a JSON object in UTF-8");
  if (body.length > bodyBytesMax) {
    return {
      code: "body-too-large",
      message: `entries[${index}].body: ${body.length} bytes`,
      hint: `an entry is at most ${bodyBytesMax} bytes; split it, or store a reference`,
    };
  }
  return undefined;
}

/** Whether this is one JSON object; parsing 120 bytes costs well under a microsecond. */
export function checkBody(body: Uint8Array, index: number): Complaint | undefined {
  const invalid = (problem: string): Complaint => ({
    code: "invalid-entry",
    message: `entries[${index}].body: ${problem}`,
    hint: 'an entry\'s body is one JSON object, such as {"celsius":21.5}',
  });
  if (!isUtf8(body)) return invalid("not UTF-8");
  let value: unknown;
  try {
    value = JSON.parse(textOf(body));
  } catch (error) {
    return invalid(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? undefined
    : invalid("not an object");
}

const textOf = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();

export function unknownStream(name: string, known: Iterable<string>): Complaint {
  return {
    code: "stream-unknown",
    message: `stream: there is no stream "${name.slice(0, 100)}"`,
    hint: hintForUnknown("Stream", name, known),
  };
}

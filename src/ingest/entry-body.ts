/**
 * From what a sender wrote to an entry: a JSON object is the body, less the reserved fields `$key`
 * ({producer, epoch, sequence}) and `$at` (when it was measured). Bytes without reserved fields are
 * kept as they came, so that nothing is reformatted on the way in.
 */
import { entryLimits, type EntryKey } from "../api/index.ts";

export type ParsedEntry = {
  readonly body: Uint8Array;
  readonly key?: EntryKey;
  readonly atMs?: number;
};

export type EntryProblem = { readonly field: string; readonly message: string };

export type EntryResult =
  | { readonly ok: true; readonly entry: ParsedEntry }
  | { readonly ok: false; readonly problem: EntryProblem };

const { producerBytesMax, atMsMax } = entryLimits;
/** What one entry is sent as, and its body, at most, however it comes in. */
export const entryBytesMax = entryLimits.bodyBytesMax;
/** What reads entries later walks them by recursion. */
export const entryDepthMax = 64;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A line of NDJSON or an element of an array: must be a JSON object. */
export function parseObjectEntry(bytes: Uint8Array): EntryResult {
  if (bytes.length > entryBytesMax) return tooLarge(bytes.length);
  if (isTooDeep(bytes)) return tooDeep;
  const parsed = parseJson(bytes);
  if (parsed.state === "text" || parsed.state === "binary") return fail("", "is not JSON in UTF-8");
  if (!isObject(parsed.value))
    return fail("", `must be a JSON object, got ${kindOf(parsed.value)}`);
  return takeReserved(parsed.value, bytes);
}

/** The same for a value that was parsed already. */
export function objectEntry(value: unknown): EntryResult {
  if (!isObject(value)) return fail("", `must be a JSON object, got ${kindOf(value)}`);
  const bytes = encode(value);
  if (!bytes || isTooDeep(bytes)) return tooDeep;
  if (bytes.length > entryBytesMax) return tooLarge(bytes.length);
  return takeReserved(value, bytes);
}

/**
 * An MQTT payload: what is not a JSON object is wrapped as `{"value": …}`: other JSON as it is, text
 * as a string, and bytes that are not UTF-8 as base64 with `"encoding": "base64"` beside it.
 */
export function parsePayload(payload: Uint8Array): EntryResult {
  if (payload.length > entryBytesMax) return tooLarge(payload.length);
  const parsed = parseJson(payload);
  if (parsed.state === "json" && isTooDeep(payload)) return tooDeep;
  switch (parsed.state) {
    case "json": {
      // Out of the chunk it arrived in, which it would otherwise keep alive.
      if (isObject(parsed.value)) return takeReserved(parsed.value, Buffer.from(payload));
      return written({ value: parsed.value });
    }
    case "text":
      return written({ value: parsed.text });
    case "binary": {
      const value = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
      return written({ value: value.toString("base64"), encoding: "base64" });
    }
  }
}

/** The same entry with these fields, in place of its own of the same names. */
export function withFields(
  entry: ParsedEntry,
  fields: Readonly<Record<string, string>>,
): EntryResult {
  const { body, ...more } = entry;
  // What was parsed before is an object.
  const own = parseExactly(decoder.decode(body)) as Record<string, unknown>;
  return written({ ...own, ...fields }, more);
}

/** Checks a key from wherever it came; the problem's field starts with `field`. */
export function parseKey(
  value: unknown,
  field: string,
):
  | { readonly ok: true; readonly key: EntryKey }
  | { readonly ok: false; readonly problem: EntryProblem } {
  if (!isObject(value)) {
    return fail(field, `must be {"producer", "epoch", "sequence"}, got ${kindOf(value)}`);
  }
  const { producer, epoch, sequence } = value;
  if (
    typeof producer !== "string" ||
    producer.length === 0 ||
    !producer.isWellFormed() ||
    Buffer.byteLength(producer) > producerBytesMax ||
    // oxlint-disable-next-line no-control-regex -- names are printed in logs and tables
    /[\u0000-\u001f\u007f]/.test(producer)
  ) {
    const allowed = `1 to ${producerBytesMax} bytes of UTF-8 without control characters`;
    return fail(`${field}.producer`, `must be ${allowed}, got ${show(producer)}`);
  }
  if (!Number.isSafeInteger(epoch) || Number(epoch) < 0)
    return fail(`${field}.epoch`, `must be a whole number from 0, got ${show(epoch)}`);
  if (!Number.isSafeInteger(sequence) || Number(sequence) < 1)
    return fail(`${field}.sequence`, `must be a whole number from 1, got ${show(sequence)}`);
  const unknown = Object.keys(value).find(
    (name) => name !== "producer" && name !== "epoch" && name !== "sequence",
  );
  if (unknown !== undefined)
    return fail(`${field}.${unknown}`, "is unknown; known are producer, epoch and sequence");
  return { ok: true, key: { producer, epoch: Number(epoch), sequence: Number(sequence) } };
}

function takeReserved(value: Record<string, unknown>, bytes: Uint8Array): EntryResult {
  if (!Object.hasOwn(value, "$key") && !Object.hasOwn(value, "$at"))
    return { ok: true, entry: { body: bytes } };
  const { $key, $at, ...rest } = value;
  const atMs = Object.hasOwn(value, "$at") ? parseAt($at) : undefined;
  if (atMs !== undefined && Number.isNaN(atMs)) {
    return fail(
      "$at",
      `must be a time from 1970 to 2100, in milliseconds since 1970 or ISO 8601, got ${show($at)}`,
    );
  }
  const key = Object.hasOwn(value, "$key") ? parseKey($key, "$key") : undefined;
  if (key && !key.ok) return key;
  const times = atMs === undefined ? {} : { atMs };
  return written(rest, key ? { key: key.key, ...times } : times);
}

/** Anew, and so perhaps longer than it came: base64, or the digits of 1e20. */
function written(value: unknown, more: Omit<ParsedEntry, "body"> = {}): EntryResult {
  const body = encode(value);
  if (!body) return tooDeep;
  if (body.length > entryBytesMax) return tooLarge(body.length);
  return { ok: true, entry: { body, ...more } };
}

const isoTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?$/;

function parseAt(value: unknown): number {
  const atMs = typeof value === "string" && isoTime.test(value) ? Date.parse(value) : value;
  return typeof atMs === "number" && Number.isSafeInteger(atMs) && atMs >= 0 && atMs <= atMsMax
    ? atMs
    : NaN;
}

type Json =
  | { readonly state: "json"; readonly value: unknown }
  | { readonly state: "text"; readonly text: string }
  | { readonly state: "binary" };

function parseJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return { state: "binary" };
  }
  try {
    return { state: "json", value: parseExactly(text) };
  } catch {
    return { state: "text", text };
  }
}

/** `JSON.rawJSON` (ECMA-262 proposal "JSON.parse source text access", in V8 since 11.4). */
const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };
const manyDigits = /\d{16}/;

/** `JSON.parse` that keeps the digits of numbers which do not fit a double, for `JSON.stringify`. */
export function parseExactly(text: string): unknown {
  if (!manyDigits.test(text)) return JSON.parse(text);
  const keepDigits = (_name: string, value: unknown, context?: { source?: string }) =>
    typeof value === "number" &&
    context?.source &&
    String(value) !== context.source &&
    manyDigits.test(context.source)
      ? rawJSON(context.source)
      : value;
  return JSON.parse(text, keepDigits);
}

function encode(value: unknown): Uint8Array | undefined {
  try {
    return encoder.encode(JSON.stringify(value));
  } catch (error) {
    // The only way for what came out of JSON.parse not to go back: the stack.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const [quote, backslash] = [0x22, 0x5c];

/** Whether JSON in UTF-8 nests deeper than `entryDepthMax`; brackets inside strings do not count. */
function isTooDeep(bytes: Uint8Array): boolean {
  // Each level takes two bytes at least.
  if (bytes.length <= 2 * entryDepthMax) return false;
  let depth = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === backslash) i++;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > entryDepthMax) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return false;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value)
  );
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an array";
  return isObject(value)
    ? "an object"
    : typeof value === "object"
      ? "a number"
      : `a ${typeof value}`;
}

const show = (value: unknown) => (JSON.stringify(value) ?? "nothing").slice(0, 80);

const fail = (field: string, message: string) =>
  ({ ok: false, problem: { field, message } }) as const;

const tooDeep = fail("", `is nested deeper than ${entryDepthMax} levels`);

const tooLarge = (bytes: number) =>
  fail("", `is ${bytes} bytes long; at most ${entryBytesMax} are taken`);

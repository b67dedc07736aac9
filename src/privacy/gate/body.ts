/** Bodies of entries as JSON: parsed and written anew, so that nothing passes unread. */
import type { Json, JsonObject } from "../../lib/json.ts";
export type { Json, JsonObject };

/** Digits that a double may not hold, and exponents: written as they came, not as JavaScript rounds them. */
const delicateNumber = /\d[\d.]{15}|\d[eE]/;

/** The object in these bytes; undefined when they hold none. */
export function parseBody(body: Uint8Array): JsonObject | undefined {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  let value: Json;
  try {
    value = delicateNumber.test(text) ? JSON.parse(text, keepDigits) : JSON.parse(text);
  } catch {
    // Not JSON: whatever this is, no policy names its fields.
    return undefined;
  }
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

export const writeBody = (value: JsonObject): Uint8Array => Buffer.from(JSON.stringify(value));

/** tc39.es/proposal-json-parse-with-source, in Node since 21; not in TypeScript's library yet. */
const withSource = JSON as unknown as {
  rawJSON(text: string): Json;
  isRawJSON(value: unknown): boolean;
};

/** Whether this is a number that stands as it was written, which looks like an object. */
export const isRawNumber = (value: Json): boolean => withSource.isRawJSON(value);

function keepDigits(_name: string, value: Json, context?: { source?: string }): Json {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined || String(value) === source) return value;
  return withSource.rawJSON(source);
}

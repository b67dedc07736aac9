/**
 * One total order over everything that JSON can hold, for sorting, indexes and cursors alike (Q2):
 * missing, null, false, true, numbers by value, text by code points, arrays and objects by their text
 * with names in order (`lib/stable`).
 * A sort key is that order as bytes: comparing two keys byte by byte compares the values. Of text,
 * arrays and objects the first 255 bytes count; what is equal up to there goes by the next key.
 */
import { stable } from "../../lib/stable.ts";
import type { Json } from "../documents/json.ts";

const tags = {
  missing: 0x00,
  null: 0x10,
  false: 0x20,
  true: 0x21,
  number: 0x30,
  text: 0x40,
  array: 0x50,
  object: 0x60,
} as const;

/** The first byte of every key of a type, and the first behind them. */
export const bracketOf = (type: "number" | "text"): { low: number; high: number } => ({
  low: tags[type],
  high: tags[type] + 1,
});

export const keyBytesMax = 256;

export function sortKey(value: Json | undefined): Buffer {
  switch (typeof value) {
    case "undefined":
      return Buffer.of(tags.missing);
    case "boolean":
      return Buffer.of(value ? tags.true : tags.false);
    case "number":
      return numberKey(value);
    case "string":
      return textKey(tags.text, value);
    default:
      if (value === null) return Buffer.of(tags.null);
      return textKey(Array.isArray(value) ? tags.array : tags.object, stable(value));
  }
}

/** Big-endian IEEE 754; negative numbers inverted, so that the bytes ascend with the value. */
function numberKey(value: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = tags.number;
  // Adding 0 makes -0 the same as 0.
  key.writeDoubleBE(value + 0, 1);
  if (value < 0) for (let at = 1; at < 9; at++) key[at] = ~(key[at] ?? 0);
  else key[1] = (key[1] ?? 0) ^ 0x80;
  return key;
}

function textKey(tag: number, text: string): Buffer {
  // A character takes one byte at least, so what is cut off here never counts.
  const head = text.length > keyBytesMax ? text.slice(0, keyBytesMax) : text;
  const bytes = head.isWellFormed() ? Buffer.from(head) : wobbly(head);
  return Buffer.concat([Buffer.of(tag), bytes.subarray(0, keyBytesMax - 1)]);
}

/** UTF-8 in which a lone surrogate is its own code point (WTF-8, simonsapin.github.io/wtf-8). */
function wobbly(text: string): Buffer {
  return Buffer.concat(
    [...text].map((character) => {
      const code = character.codePointAt(0) ?? 0;
      return code >= 0xd800 && code <= 0xdfff
        ? Buffer.of(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f))
        : Buffer.from(character);
    }),
  );
}

/** Equal as JSON: 1 and 1.0 are, and objects whatever the order of their fields. */
export function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  return stable(a) === stable(b);
}

/** By code points; JavaScript's own `<` puts U+1F600 before U+FF01. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const shorter = Math.min(a.length, b.length);
  let at = 0;
  while (at < shorter && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  const before = at > 0 ? a.charCodeAt(at - 1) : 0;
  if (before >= 0xd800 && before <= 0xdbff) at--;
  return (a.codePointAt(at) ?? -1) - (b.codePointAt(at) ?? -1);
}

/** Of numbers with numbers, text with text, true with false; undefined: these cannot be compared. */
export function compareLike(a: Json | undefined, b: Json): number | undefined {
  if (typeof a === "number" && typeof b === "number") return a < b ? -1 : a > b ? 1 : 0;
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (typeof a === "boolean" && typeof b === "boolean") return Number(a) - Number(b);
  return undefined;
}

/** The total order on whole values; what `min` and `max` go by. */
export function compareValues(a: Json, b: Json): number {
  const like = compareLike(a, b);
  if (like !== undefined) return like;
  const [tagA = 0, tagB = 0] = [sortKey(a)[0], sortKey(b)[0]];
  if (tagA !== tagB || typeof a !== "object" || typeof b !== "object") return tagA - tagB;
  return compareText(stable(a), stable(b));
}

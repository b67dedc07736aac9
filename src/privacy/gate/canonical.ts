/**
 * Whether a body is, byte for byte, what parsing it and writing it anew would make of it
 * (`body.ts`), seen in one pass. A body that is need not be made again. Where this is in doubt the
 * answer is no, which costs time and nothing else.
 */
import { isUtf8 } from "node:buffer";

/** Deeper, and with more names side by side, is written anew. */
const depthMax = 32;
const namesMax = 64;

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openObject, closeObject, openArray, closeArray] = [0x7b, 0x7d, 0x5b, 0x5d];
const [minus, dot, zero, nine] = [0x2d, 0x2e, 0x30, 0x39];
const words = ["true", "false", "null"].map((word) => Buffer.from(word));

/** Of one container on the way down: where the names of its members stand, two numbers a name. */
type Open = { readonly names: number[]; readonly isArray: boolean };

/** Of one JSON object, from `from` up to `to`; anything else is not. */
export function isCanonical(text: Uint8Array, from = 0, to = text.length): boolean {
  if (text[from] !== openObject) return false;
  const outer: Open[] = [];
  let open: Open = { names: [], isArray: false };
  let at = from + 1;
  let isEmpty = true;
  let isAscii = true;
  /** Behind the closing quote; -1: no string, or one that may be written otherwise. */
  const endOfString = (first: number): number => {
    for (let index = first; index < to; index++) {
      const letter = text[index] as number;
      if (letter === quote) return index + 1;
      if (letter === backslash || letter < 0x20) return -1;
      if (letter >= 0x80) isAscii = false;
    }
    return -1;
  };
  for (;;) {
    if (text[at] === (open.isArray ? closeArray : closeObject)) {
      at++;
      const parent = outer.pop();
      // Bytes that are no letters would be replaced.
      if (!parent) return at === to && (isAscii || isUtf8(text.subarray(from, to)));
      open = parent;
      isEmpty = false;
      continue;
    }
    if (!isEmpty && text[at++] !== comma) return false;
    if (!open.isArray) {
      const end = text[at] === quote ? endOfString(at + 1) : -1;
      if (end < 0 || text[end] !== colon || !isNewName(text, open.names, at + 1, end - 1))
        return false;
      at = end + 1;
    }
    const letter = text[at];
    if (letter === openObject || letter === openArray) {
      if (outer.length >= depthMax) return false;
      outer.push(open);
      open = { names: [], isArray: letter === openArray };
      isEmpty = true;
      at++;
      continue;
    }
    at = letter === quote ? endOfString(at + 1) : endOfPlain(text, at);
    if (at < 0) return false;
    isEmpty = false;
  }
}

/** Of a name that comes twice the first is lost; those that look like numbers move to the front. */
function isNewName(text: Uint8Array, names: number[], from: number, to: number): boolean {
  if (isDigit(text[from]) || names.length >= 2 * namesMax) return false;
  for (let index = 0; index < names.length; index += 2) {
    const other = names[index] as number;
    if ((names[index + 1] as number) - other === to - from && isSame(text, other, from, to))
      return false;
  }
  names.push(from, to);
  return true;
}

function isSame(text: Uint8Array, other: number, from: number, to: number): boolean {
  for (let index = from; index < to; index++)
    if (text[index] !== text[other + index - from]) return false;
  return true;
}

function endOfPlain(text: Uint8Array, from: number): number {
  const letter = text[from];
  if (letter === minus || isDigit(letter)) return endOfNumber(text, from);
  const word = words.find((bytes) => bytes[0] === letter);
  return word?.every((byte, index) => byte === text[from + index]) ? from + word.length : -1;
}

/** A double holds 15 digits; those from a millionth up are written without an exponent. */
const digitsMax = 15;
const zerosMax = 6;

/** -1: no number, or one that JavaScript may write otherwise. */
function endOfNumber(text: Uint8Array, from: number): number {
  const first = text[from] === minus ? from + 1 : from;
  let at = endOfDigits(text, first);
  if (at === first || (text[first] === zero && at > first + 1)) return -1;
  if (text[at] !== dot) {
    const isMinusZero = first > from && text[first] === zero;
    return at - first > digitsMax || isMinusZero || isExponent(text[at]) ? -1 : at;
  }
  const fraction = at + 1;
  at = endOfDigits(text, fraction);
  if (at === fraction || text[at - 1] === zero || at - first - 1 > digitsMax) return -1;
  if (isExponent(text[at])) return -1;
  if (text[first] !== zero) return at;
  let zeros = 0;
  while (text[fraction + zeros] === zero) zeros++;
  return zeros < zerosMax ? at : -1;
}

function endOfDigits(text: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(text[at])) at++;
  return at;
}

const isExponent = (letter: number | undefined): boolean => letter === 0x65 || letter === 0x45;
const isDigit = (letter: number | undefined): boolean =>
  letter !== undefined && letter >= zero && letter <= nine;

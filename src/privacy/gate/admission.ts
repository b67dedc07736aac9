/**
 * Whether all of a JSON text may leave by a policy, seen in one pass over its bytes (RFC 8259), without
 * making anything of them. It looks at what is kept, every member of a repeated name as well, and so
 * is stricter than parsing. `filter` says what a policy means; this says whether it would change anything.
 */
import type { CompiledPolicy } from "./policy.ts";

/** What may stand in a value, by the names of its members. */
export type Admission = {
  /** Only something below may leave: a plain value stays, and so does a container without a member. */
  readonly partial: boolean;
  readonly names: readonly Name[];
  /** Of every other name; undefined: may not leave. */
  readonly others: Admission | undefined;
  /** Of `names`, the one to look at first: the members of many readings come in one order. */
  likely: number;
};
/** `admission` undefined: may not leave. */
type Name = { readonly bytes: Uint8Array; readonly admission: Admission | undefined };

type Path = readonly string[];

const all: Admission = {
  partial: false,
  names: [],
  get others() {
    return all;
  },
  likely: 0,
};

export function admissionOf({ keep, drop }: CompiledPolicy): Admission {
  return build(keep, drop);
}

/** `keep` undefined: all but what is dropped. `drop`: what is left of dropped paths, joined by dots. */
function build(keep: readonly Path[] | undefined, drop: readonly string[]): Admission {
  if (!keep && drop.length === 0) return all;
  const names = new Set([
    ...(keep ?? []).map(([first = ""]) => first),
    // A dropped path is spelled by whatever names, joined, come to it.
    ...drop.flatMap((path) => prefixesOf(path)),
  ]);
  return {
    partial: keep !== undefined,
    names: [...names].map((name) => ({
      bytes: Buffer.from(JSON.stringify(name).slice(1, -1)),
      admission: below(name, keep, drop),
    })),
    others: keep ? undefined : all,
    likely: 0,
  };
}

function below(
  name: string,
  keep: readonly Path[] | undefined,
  drop: readonly string[],
): Admission | undefined {
  if (drop.includes(name)) return undefined;
  const kept = keep?.filter(([first]) => first === name);
  if (kept?.length === 0) return undefined;
  const isWhole = !kept || kept.some((path) => path.length === 1);
  return build(
    isWhole ? undefined : kept.map((path) => path.slice(1)),
    drop.filter((path) => path.startsWith(`${name}.`)).map((path) => path.slice(name.length + 1)),
  );
}

const prefixesOf = (path: string): string[] =>
  path.split(".").map((_, index, names) => names.slice(0, index + 1).join("."));

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openObject, closeObject, openArray, closeArray] = [0x7b, 0x7d, 0x5b, 0x5d];
const [minus, plus, dot, zero, nine] = [0x2d, 0x2b, 0x2e, 0x30, 0x39];

/**
 * Of the text from `from` up to `to`. False for what is not one JSON object, too. Nothing is recursive:
 * depth costs no stack. What is no whole object may be read on into what follows, and ends behind `to`.
 */
export function admits(
  admission: Admission,
  text: Uint8Array,
  from = 0,
  to = text.length,
): boolean {
  let at = skipSpace(text, from);
  if (text[at] !== openObject) return false;
  at = skipSpace(text, at + 1);
  const outer: { readonly node: Admission; readonly isArray: boolean }[] = [];
  let node = admission;
  let isArray = false;
  /** Nothing came yet in this container. */
  let isEmpty = true;
  for (;;) {
    if (text[at] === (isArray ? closeArray : closeObject)) {
      if (isEmpty && node.partial && outer.length > 0) return false;
      const parent = outer.pop();
      if (!parent) return isSpaceUntil(text, at + 1, to);
      at = skipSpace(text, at + 1);
      ({ node, isArray } = parent);
      isEmpty = false;
      continue;
    }
    if (!isEmpty) {
      if (text[at] !== comma) return false;
      at = skipSpace(text, at + 1);
    }
    let inner = node;
    if (!isArray) {
      const end = text[at] === quote ? endOfString(text, at + 1) : -1;
      if (end < 0) return false;
      const found = admissionIn(node, text, at + 1, end - 1);
      if (!found) return false;
      inner = found;
      at = skipSpace(text, end);
      if (text[at] !== colon) return false;
      at = skipSpace(text, at + 1);
    }
    const letter = text[at];
    if (letter === openObject || letter === openArray) {
      outer.push({ node, isArray });
      node = inner;
      isArray = letter === openArray;
      isEmpty = true;
      at = skipSpace(text, at + 1);
      continue;
    }
    if (inner.partial) return false;
    at = endOfScalar(text, at);
    if (at < 0) return false;
    at = skipSpace(text, at);
    isEmpty = false;
  }
}

function admissionIn(
  node: Admission,
  text: Uint8Array,
  from: number,
  to: number,
): Admission | undefined {
  const { names } = node;
  if (names.length === 0) return node.others;
  let at = node.likely;
  for (let tried = 0; tried < names.length; tried++) {
    const { bytes, admission } = names[at] as Name;
    at = at + 1 < names.length ? at + 1 : 0;
    if (bytes.length !== to - from || !isAt(bytes, text, from)) continue;
    node.likely = at;
    return admission;
  }
  const name = text.subarray(from, to);
  return name.includes(backslash) ? admissionOfEscaped(node, name) : node.others;
}

/** Written with escapes, as another writer of JSON would. */
function admissionOfEscaped({ names, others }: Admission, name: Uint8Array): Admission | undefined {
  const plain = Buffer.from(
    JSON.stringify(JSON.parse(`"${Buffer.from(name).toString()}"`)).slice(1, -1),
  );
  const known = names.find(({ bytes }) => plain.equals(bytes));
  return known ? known.admission : others;
}

function isAt(bytes: Uint8Array, text: Uint8Array, from: number): boolean {
  for (let index = 0; index < bytes.length; index++)
    if (bytes[index] !== text[from + index]) return false;
  return true;
}

function skipSpace(text: Uint8Array, from: number): number {
  let at = from;
  while (at < text.length && (text[at] as number) <= 0x20 && isSpace(text[at])) at++;
  return at;
}

function isSpaceUntil(text: Uint8Array, from: number, to: number): boolean {
  let at = from;
  while (at < to && isSpace(text[at])) at++;
  return at === to;
}

const isSpace = (letter: number | undefined): boolean =>
  letter === 0x20 || letter === 0x0a || letter === 0x0d || letter === 0x09;

/** Behind the closing quote of what begins here; -1 when it is no string. */
function endOfString(text: Uint8Array, from: number): number {
  for (let at = from; at < text.length; at++) {
    const letter = text[at] as number;
    // Most letters are neither a quote, a backslash, nor a control character, which is not allowed here.
    if (letter > quote && letter !== backslash) continue;
    if (letter === quote) return at + 1;
    if (letter < 0x20) return -1;
    if (letter !== backslash) continue;
    at++;
    const escaped = text[at];
    if (escaped === undefined) return -1;
    if (escaped === 0x75) {
      for (const end = at + 4; at < end;) if (!isHex(text[++at])) return -1;
    } else if (!plainEscapes.includes(escaped)) return -1;
  }
  return -1;
}

const plainEscapes = Buffer.from('"\\/bfnrt');
const isHex = (letter: number | undefined): boolean =>
  letter !== undefined &&
  ((letter >= zero && letter <= nine) ||
    (letter >= 0x41 && letter <= 0x46) ||
    (letter >= 0x61 && letter <= 0x66));

const words = ["true", "false", "null"].map((word) => Buffer.from(word));

function endOfScalar(text: Uint8Array, from: number): number {
  const letter = text[from];
  if (letter === quote) return endOfString(text, from + 1);
  if (letter === minus || isDigit(letter)) return endOfNumber(text, from);
  const word = words.find((bytes) => bytes[0] === letter);
  return word && isAt(word, text, from) ? from + word.length : -1;
}

function endOfNumber(text: Uint8Array, from: number): number {
  let at = text[from] === minus ? from + 1 : from;
  if (text[at] === zero) at++;
  else at = endOfDigits(text, at);
  if (at >= 0 && text[at] === dot) at = endOfDigits(text, at + 1);
  if (at >= 0 && (text[at] === 0x65 || text[at] === 0x45)) {
    const sign = text[at + 1];
    at = endOfDigits(text, sign === plus || sign === minus ? at + 2 : at + 1);
  }
  return at;
}

/** -1 where there is none. */
function endOfDigits(text: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(text[at])) at++;
  return at === from ? -1 : at;
}

const isDigit = (letter: number | undefined): boolean =>
  letter !== undefined && letter >= zero && letter <= nine;

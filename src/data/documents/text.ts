/**
 * Rich text: a sequence of characters, each with attributes, that several may edit at once. Yjs merges
 * it (Nicolaescu et al., "Near real-time peer-to-peer shared editing on extensible data types", 2016);
 * what is stored is its state, as one update.
 *
 * A state is a function of the set of updates in it, byte by byte: they are applied together, to a
 * document that is not yet known to hold a text. Yjs tidies the formats of one that is by deletions of
 * its own, which no log would know.
 */
import { createHash } from "node:crypto";
import type { TextDelta } from "../../api/records/index.ts";
import { yjs } from "../../runtime/yjs/index.ts";
import type { Json } from "./json.ts";

export type TextState = Uint8Array;

/** As it stands in operations and rows. */
export const textOf = (state: TextState): string => Buffer.from(state).toString("base64");
export const textState = (text: string): TextState => Buffer.from(text, "base64");

/**
 * Whether every document takes it: what comes from others must not end a merge. That Yjs reads it is not
 * enough, nor that an empty document takes it: what names parts that are not there waits in that one, and
 * may fail where they are. So each part is looked at by itself, and then no order of joining matters.
 */
export function isTextState(value: Json | undefined): boolean {
  if (typeof value !== "string") return false;
  try {
    const state = textState(value);
    if (!isOfEdits(state)) return false;
    open(state);
    return true;
  } catch {
    return false;
  }
}

/** The only text in its Yjs document. */
const name = "text";

const open = (state: TextState | undefined) => {
  const doc = new (yjs().Doc)();
  if (state) yjs().applyUpdate(doc, state);
  return doc;
};

type Part = ReturnType<ReturnType<typeof yjs>["decodeUpdate"]>["structs"][number];

/** Authors in falling order, each with one run of parts: of one that comes twice Yjs forgets what it had. */
function isOfEdits(state: TextState): boolean {
  let author = Infinity;
  let end = 0;
  for (const part of yjs().decodeUpdate(state).structs) {
    const { client, clock } = part.id;
    if (client > author || (client === author && clock !== end)) return false;
    author = client;
    end = clock + part.length;
    if (part.length < 1 || !Number.isSafeInteger(end) || !isOfText(part)) return false;
  }
  return true;
}

/** Characters, formats, and what is left of either; each beside what its author had before. */
function isOfText(part: Part): boolean {
  const { GC, Skip, Item, ContentString, ContentFormat, ContentDeleted } = yjs();
  if (part instanceof GC || part instanceof Skip) return true;
  if (!(part instanceof Item)) return false;
  const { id, origin, rightOrigin, parentSub, content } = part;
  // Before it is in a document it has the name of what it stands in, where no neighbour says that.
  const parent = part.parent as unknown;
  const isKnown =
    content instanceof ContentString ||
    content instanceof ContentFormat ||
    content instanceof ContentDeleted;
  const isInText = parentSub === null && (parent === null || parent === name);
  return (
    isKnown &&
    isInText &&
    [origin, rightOrigin].every((at) => at?.client !== id.client || at.clock < id.clock)
  );
}

/** Both as one; `undefined` is the empty text. */
export function joinTexts(one: TextState | undefined, other: TextState): TextState {
  const { encodeStateAsUpdate, mergeUpdates } = yjs();
  return encodeStateAsUpdate(open(one ? mergeUpdates([one, other]) : other));
}

/** States are never changed, and one is asked for several times in a write or a read. */
const deltaByState = new WeakMap<TextState, TextDelta>();

function deltaOf(state: TextState): TextDelta {
  const known = deltaByState.get(state);
  if (known) return known;
  const delta = open(state).getText(name).toDelta() as TextDelta;
  deltaByState.set(state, delta);
  return delta;
}

/** What it says, without its attributes. */
export const plainText = (state: TextState | undefined): string =>
  state
    ? deltaOf(state).reduce((text, part) => text + ("insert" in part ? part.insert : ""), "")
    : "";

/** In UTF-16 code units, as positions in a delta are. */
export const lengthOf = (state: TextState | undefined): number => plainText(state).length;

/** With its attributes; undefined when it has none. */
export function formattedText(state: TextState): TextDelta | undefined {
  const delta = deltaOf(state);
  return delta.some((part) => "attributes" in part) ? delta : undefined;
}

/**
 * Edits by `author`, whose earlier ones are all in `state`, as the update that says them to others.
 * Undefined when they change nothing. What reaches past the end is cut there.
 */
export function editText(
  state: TextState | undefined,
  author: string,
  ...deltas: readonly TextDelta[]
): Uint8Array | undefined {
  const doc = open(state);
  doc.clientID = clientOf(author);
  const text = doc.getText(name);
  let update: Uint8Array | undefined;
  doc.on("update", (made: Uint8Array) => (update = made));
  doc.transact(() => {
    for (const delta of deltas) text.applyDelta([...within(delta, text.length)]);
  });
  return update;
}

/**
 * The text that a plain value begins: the same update wherever it is made, so that two who begin to
 * edit at the same time do not write it down twice. `author` is named by the write of that value.
 */
export const beginText = (author: string, value: string): Uint8Array =>
  editText(undefined, author, [{ insert: value }]) as Uint8Array;

/** From one string to another, as one replaced piece. */
export function deltaBetween(before: string, after: string): TextDelta {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  // Not in the middle of a character beyond U+FFFF.
  if (isHighSurrogate(before, start - 1)) start--;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before.at(-1 - end) === after.at(-1 - end)) end++;
  if (end > 0 && isHighSurrogate(before, before.length - end - 1)) end--;
  const gone = before.length - end - start;
  const come = after.slice(start, after.length - end);
  return [
    ...(start > 0 ? [{ retain: start }] : []),
    ...(come === "" ? [] : [{ insert: come }]),
    ...(gone > 0 ? [{ delete: gone }] : []),
  ];
}

const isHighSurrogate = (text: string, at: number): boolean => {
  const unit = text.charCodeAt(at);
  return unit >= 0xd800 && unit < 0xdc00;
};

/** Yjs would write line ends of its own to reach a place past the end. */
function within(delta: TextDelta, length: number): TextDelta {
  let left = length;
  return delta.flatMap((part): TextDelta => {
    if ("insert" in part) return [part];
    const count = Math.min("retain" in part ? part.retain : part.delete, left);
    left -= count;
    if (count === 0) return [];
    return "retain" in part ? [{ ...part, retain: count }] : [{ delete: count }];
  });
}

/** Whom Yjs takes an edit to be of: 48 bits of a hash, which its encoding carries. */
const clientOf = (author: string): number =>
  createHash("sha256").update(author).digest().readUIntBE(0, 6);

const partsMax = 1000;
const attributesMax = 20;

/** What is wrong with a delta, if anything. */
export function deltaProblem(delta: Json | TextDelta): string | undefined {
  if (!Array.isArray(delta)) return 'must be a list such as [{"retain":3},{"insert":"new"}]';
  if (delta.length > partsMax) return `holds ${delta.length} parts; at most ${partsMax}`;
  for (const [index, part] of (delta as readonly Json[]).entries()) {
    const problem = partProblem(part);
    if (problem) return `[${index}] ${problem}`;
  }
  return undefined;
}

function partProblem(part: Json): string | undefined {
  if (typeof part !== "object" || part === null || Array.isArray(part)) return "must be an object";
  const { attributes, ...verbs } = part as Readonly<Record<string, Json>>;
  const [[verb, value] = ["", null], ...more] = Object.entries(verbs);
  if (more.length > 0 || !["insert", "retain", "delete"].includes(verb))
    return "must be one of insert, retain and delete, with attributes or without";
  if (verb === "insert") {
    if (typeof value !== "string" || value === "" || !value.isWellFormed())
      return "insert must be text, and not empty";
  } else if (!Number.isSafeInteger(value) || (value as number) < 1)
    return `${verb} must be a whole number from 1`;
  if (attributes === undefined) return undefined;
  const isScalar = (each: Json) => typeof each !== "object" || each === null;
  const isObject =
    typeof attributes === "object" && attributes !== null && !Array.isArray(attributes);
  if (verb === "delete") return "delete has no attributes";
  if (
    !isObject ||
    Object.keys(attributes).length > attributesMax ||
    !Object.values(attributes).every(isScalar)
  )
    return `attributes must be at most ${attributesMax} plain values by name; null takes one away`;
  return undefined;
}

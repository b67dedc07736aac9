/**
 * What a write may not make of a document. Merges may: what they made larger than any one writer may is
 * made smaller again in as many writes as it takes.
 */
import type { Complaint } from "../streams/check.ts";
import type { ShownText } from "./body.ts";
import { cellsWithin } from "./cells.ts";
import { fieldsMax, listPlacesMax, placesWalkedMax, textBytesMax, tooLarge } from "./check.ts";
import type { Editor } from "./editor.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import type { Context } from "./merge.ts";
import { countMax, countOf, type DocumentState } from "./state.ts";

/** A document as a whole. */
export function documentOutgrown(
  at: string,
  before: JsonObject | undefined,
  { body, text }: ShownText,
): Complaint | undefined {
  if (body === undefined || text === null) return undefined;
  const large = tooLarge(at, text);
  if (large)
    return before && Buffer.byteLength(text) <= Buffer.byteLength(JSON.stringify(before))
      ? undefined
      : large;
  if (text.length < fieldsMax * fieldLengthMin) return undefined;
  const fields = fieldsIn(body);
  if (fields <= fieldsMax || (before && fields <= fieldsIn(before))) return undefined;
  return {
    code: "document-too-large",
    message: `${at}: would have ${fields} fields`,
    hint: `at most ${fieldsMax}, with those of maps within it; split it, or put what is alike into a list`,
  };
}

/** What a change of this path has to go through of lists. */
export const placesWithin = ({ cells }: DocumentState, path: string): number =>
  cellsWithin(cells, path).reduce((sum, [, { list }]) => sum + list.length, 0);

/** `walked`: places of lists, by all changes of a request up to here. */
export function walkedTooFar(at: string, walked: number): Complaint | undefined {
  if (walked <= placesWalkedMax) return undefined;
  return {
    code: "batch-too-large",
    message: `${at}: up to here the request goes through ${walked} places of lists, each change through all of its list`,
    hint: `at most ${placesWalkedMax}: put changes of one list behind each other in one write, or send fewer at a time`,
  };
}

/** What its texts and their past come to, where a write made that more. */
export function textsOutgrown(
  at: string,
  before: number,
  state: DocumentState,
): Complaint | undefined {
  const bytes = textBytesOf(state);
  if (bytes <= textBytesMax || bytes <= before) return undefined;
  return {
    code: "document-too-large",
    message: `${at}: its texts would remember ${bytes} bytes of edits`,
    hint: `at most ${textBytesMax} in a document; begin a new one with the texts as they are`,
  };
}

export function textBytesOf({ cells }: DocumentState): number {
  let bytes = 0;
  for (const { text } of cells.values()) bytes += text?.length ?? 0;
  return bytes;
}

/** `"":1,` */
const fieldLengthMin = 5;

/** Those of elements of lists are not merged, and not counted. */
function fieldsIn(value: Json): number {
  if (!isObject(value)) return 0;
  const inner = Object.values(value);
  return inner.reduce<number>((sum, each) => sum + fieldsIn(each), inner.length);
}

/** A field that this write made hold more than it may, with what it remembers of what was removed. */
export function fieldOutgrown(
  at: string,
  state: DocumentState,
  { changes }: Editor,
  { origin }: Context,
): Complaint | undefined {
  for (const { type, path } of changes) {
    const cell = state.cells.get(path);
    if (!cell) continue;
    if (type === "count" && [countOf(cell), cell.counts.get(origin)?.total].some(isAtEnd)) {
      return {
        code: "invalid-document",
        message: `${at}: ${path} would count past 1.8e308`,
        hint: "set it to a number that is nearer, or begin a new document",
      };
    }
    if (type === "insert" && cell.list.length > listPlacesMax) {
      return {
        code: "document-too-large",
        message: `${at}: ${path} would remember ${cell.list.length} places, of elements that are there or were removed`,
        hint: `at most ${listPlacesMax} in a list; begin a new document, keep work that comes and goes in a stream, or write each element as a document`,
      };
    }
  }
  return undefined;
}

const isAtEnd = (sum = 0): boolean => Math.abs(sum) === countMax;

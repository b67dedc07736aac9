/**
 * A store's documents in pieces, in the order in which they changed there: a document that changes
 * meanwhile comes again, so what came up to the last piece is the store as it was at that moment, and
 * that piece says at which positions. A piece goes on where the one before ended, whenever that was.
 * On a link: "SKS1", then one zstd frame of lines, a header and a line for each document.
 */
import type {
  PackedState,
  Position,
  SnapshotCursor,
  SnapshotDocument,
  SnapshotPiece,
} from "../../api/records/index.ts";
import { invalidBatch, packText, unpackText } from "./codec.ts";
import { isStamp } from "./hybrid-clock.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import { isPointer } from "./pointer.ts";
import { isTextState } from "./text.ts";

export type { SnapshotCursor, SnapshotPiece } from "../../api/records/index.ts";

export const snapshotKind = "SKS1";

export const encodeSnapshot = (
  { documents, ...header }: SnapshotPiece,
  { kind = snapshotKind, ...more }: JsonObject & { readonly kind?: string } = {},
): Uint8Array =>
  new Uint8Array(
    packText(
      kind,
      [{ ...more, ...header }, ...documents].map((line) => JSON.stringify(line)),
    ),
  );

/** Checked field by field: `invalid-batch`. */
export function decodeSnapshot(
  bytes: Uint8Array,
  kind = snapshotKind,
): SnapshotPiece & { readonly header: JsonObject } {
  const { header, texts } = unpackText(kind, bytes);
  const { view, after, next, origins, keys, end } = header;
  if (typeof view !== "string" || view === "") throw invalidBatch("view must be a name");
  if (after !== undefined && !isCursor(after)) throw invalidBatch("after must be a place");
  if (next === undefined || !isCursor(next)) throw invalidBatch("next must be a place");
  if (!isTexts(origins) || !isTexts(keys)) throw invalidBatch("origins and keys must be names");
  if (end !== undefined && !(Array.isArray(end) && end.every(isPosition)))
    throw invalidBatch("end must be positions");
  return {
    view,
    ...(after === undefined ? {} : { after: after as SnapshotCursor }),
    next: next as SnapshotCursor,
    origins,
    keys,
    ...(end === undefined ? {} : { end: end as unknown as readonly Position[] }),
    documents: texts.map((text) => readDocument(text, origins.length)),
    header,
  };
}

function readDocument(text: string, origins: number): SnapshotDocument {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalidBatch("a document is not JSON", cause);
  }
  if (!isObject(value)) throw invalidBatch("a document must be an object");
  const { collection, id, state } = value;
  if (typeof collection !== "string" || typeof id !== "string" || !isObject(state))
    throw invalidBatch("a document must have a collection, an id and a state");
  if (!isState(state, origins)) throw invalidBatch(`the state of ${collection}/${id} is damaged`);
  return { collection, id, state: state as PackedState };
}

/** Of a document, with so many origins to name in it. */
export function isState(
  { e = [], d = [], v = 0, x = [], c = [], m = [], l = [], t = [] }: JsonObject,
  origins: number,
) {
  const isOrigin = (value: Json | undefined) => isStamp(value) && value < origins;
  const isDot = (value: Json): value is Json[] =>
    Array.isArray(value) && isStamp(value[0]) && isOrigin(value[1]) && isStamp(value[2]);
  const isDotOf = (length: number) => (value: Json) => isDot(value) && value.length === length;
  const all = (value: Json, isOne: (one: Json) => boolean) =>
    Array.isArray(value) && value.every(isOne);
  const byPath = (value: Json, isOne: (one: Json) => boolean) =>
    all(
      value,
      (entry) =>
        Array.isArray(entry) &&
        entry.length === 2 &&
        isPointer(entry[0]) &&
        all(entry[1] ?? null, isOne),
    );
  /** Of what an earlier version counted past 1.8e308 a sum is null. */
  const isSum = (at: number) => at === 2 || at === 4;
  const isCount = (value: Json) =>
    Array.isArray(value) &&
    (value.length === 3 || value.length === 5) &&
    isOrigin(value[0]) &&
    value.every((each, at) => typeof each === "number" || (each === null && isSum(at)));
  const isMember = (value: Json) =>
    Array.isArray(value) &&
    value.length === 2 &&
    Array.isArray(value[1]) &&
    value[1].length % 2 === 0 &&
    value[1].every((each, at) => (at % 2 === 0 ? isOrigin(each) : isStamp(each)));
  const isElement = (value: Json) => isDot(value) && value.length <= 4;
  return (
    all(e, isDotOf(3)) &&
    all(d, isDotOf(3)) &&
    isStamp(v) &&
    byPath(x, isDotOf(4)) &&
    byPath(c, isCount) &&
    byPath(m, isMember) &&
    byPath(l, isElement) &&
    byPath(t, isTextState)
  );
}

const isTexts = (value: Json | undefined): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string");

const isNumbers = (value: Json | undefined): value is JsonObject =>
  isObject(value) && Object.values(value).every(isStamp);

export const isCursor = (value: Json): boolean =>
  isObject(value) && isNumbers(value["changes"]) && isStamp(value["keys"]);

function isPosition(value: Json): boolean {
  if (!isObject(value)) return false;
  const { name, applied, hlc, seen } = value;
  return (
    typeof name === "string" && name !== "" && isStamp(applied) && isStamp(hlc) && isNumbers(seen)
  );
}

/** Validation of what clients write: every refusal names the field, the value and what is allowed. */
import { hintForUnknown } from "../unknown.ts";
import type { Complaint } from "../streams/check.ts";
import { isObject, same, valueAt, type Json, type JsonObject } from "./json.ts";
import { isPointer, namesOf } from "./pointer.ts";
import type {
  CollectionDeclaration,
  DocumentWrite,
  FieldChange,
  FieldDeclaration,
} from "./store.ts";
import { deltaProblem } from "./text.ts";

export const writesPerRequestMax = 1000;
export const documentBytesMax = 256 * 1024;
export const documentIdBytesMax = 256;
export const keyBytesMax = 128;
const depthMax = 32;
const fieldsMax = 2000;
const changesMax = 1000;
const elementsMax = 10_000;

export type Declared = ReadonlyMap<string, CollectionDeclaration>;

export function checkWrites(
  writes: readonly DocumentWrite[],
  key: string | undefined,
  declared: Declared,
): Complaint | undefined {
  if (writes.length > writesPerRequestMax) {
    return {
      code: "batch-too-large",
      message: `writes: ${writes.length} in one request`,
      hint: `send at most ${writesPerRequestMax} at a time`,
    };
  }
  if (key !== undefined && !(isPlainText(key) && Buffer.byteLength(key) <= keyBytesMax))
    return invalid("key", `must be text of 1 to ${keyBytesMax} bytes`);
  for (const [index, write] of writes.entries()) {
    const complaint = checkWrite(write, `writes[${index}]`, declared);
    if (complaint) return complaint;
  }
  return undefined;
}

function checkWrite(write: DocumentWrite, at: string, declared: Declared): Complaint | undefined {
  const collection = declared.get(write.collection);
  if (!collection) return unknownCollection(write.collection, declared.keys());
  if (collection.readOnly) {
    return {
      code: "collection-of-hub",
      message: `${at}: collection ${collection.name} is written at the hub (scope: hubToCells)`,
      hint: "write it there; every matching cell gets it",
    };
  }
  const { id } = write;
  if (typeof id !== "string" || !isPlainText(id) || Buffer.byteLength(id) > documentIdBytesMax)
    return invalid(`${at}.id`, `must be text of 1 to ${documentIdBytesMax} bytes without controls`);
  switch (write.do) {
    case "put":
      return checkValue(write.body, `${at}.body`, { isBody: true });
    case "merge":
      return checkValue(write.patch, `${at}.patch`, { isBody: true });
    case "change":
      return checkChanges(write.changes, `${at}.changes`, collection);
    case "delete":
      return undefined;
  }
}

function checkChanges(
  changes: readonly FieldChange[],
  at: string,
  collection: CollectionDeclaration,
): Complaint | undefined {
  if (changes.length > changesMax) return invalid(at, `at most ${changesMax} of one document`);
  for (const [index, change] of changes.entries()) {
    const where = `${at}[${index}]`;
    const { path } = change;
    if (!isPointer(path) || path === "" || namesOf(path).length > depthMax) {
      return invalid(
        `${where}.path`,
        `"${String(path).slice(0, 100)}" must be a JSON pointer such as /address/city, at most ${depthMax} deep`,
      );
    }
    const type = collection.fields.find((field) => field.path === path)?.type ?? "any";
    const needs = (wanted: string): Complaint | undefined =>
      type === wanted
        ? undefined
        : {
            ...invalid(
              `${where}.path`,
              `${path} is declared as ${type}, ${change.change} needs a ${wanted}`,
            ),
            hint: `declare it in spec.fields of Collection ${collection.name}, or use "set"`,
          };
    const complaint = checkChange(change, where, needs);
    if (complaint) return complaint;
  }
  return undefined;
}

function checkChange(
  change: FieldChange,
  where: string,
  needs: (type: string) => Complaint | undefined,
): Complaint | undefined {
  const isPlace = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  switch (change.change) {
    case "set":
      return checkValue(change.value, `${where}.value`);
    case "remove":
      return undefined;
    case "increment":
      if (!Number.isFinite(change.by)) return invalid(`${where}.by`, "must be a number");
      return needs("counter");
    case "add":
    case "discard":
      return checkValue(change.value, `${where}.value`) ?? needs("set");
    case "insert":
      if (change.index !== undefined && !isPlace(change.index))
        return invalid(`${where}.index`, `${change.index} must be a whole number from 0`);
      if (!Array.isArray(change.values)) return invalid(`${where}.values`, "must be a list");
      return checkValue(change.values, `${where}.values`) ?? needs("list");
    case "delete":
      if (!isPlace(change.index) || (change.count !== undefined && !isPlace(change.count)))
        return invalid(`${where}.index`, "index and count must be whole numbers from 0");
      return needs("list");
    case "edit": {
      const problem = deltaProblem(change.delta);
      if (problem) return invalid(`${where}.delta`, problem);
      return tooLarge(`${where}.delta`, JSON.stringify(change.delta)) ?? needs("text");
    }
    default:
      return invalid(
        `${where}.change`,
        `must be set, remove, increment, add, discard, insert, delete or edit`,
      );
  }
}

/** Bounds of what a document may hold; `invalid-document`, `document-too-large`. */
function checkValue(
  value: Json,
  at: string,
  options: { isBody?: boolean } = {},
): Complaint | undefined {
  if (value === undefined || (options.isBody && !isObject(value)))
    return invalid(at, options.isBody ? "must be a JSON object" : "is missing");
  let fields = 0;
  const look = (inner: Json, depth: number): string | undefined => {
    if (depth > depthMax) return `is nested more than ${depthMax} deep`;
    if (typeof inner === "number" && !Number.isFinite(inner)) return "holds a number past 1.8e308";
    if (typeof inner !== "object" || inner === null) return undefined;
    const values = Array.isArray(inner) ? inner : Object.values(inner);
    if (Array.isArray(inner) ? inner.length > elementsMax : (fields += values.length) > fieldsMax)
      return `holds more than ${fieldsMax} fields, or a list of more than ${elementsMax}`;
    for (const each of values) {
      const problem = look(each, depth + 1);
      if (problem) return problem;
    }
    return undefined;
  };
  const problem = look(value, 0);
  if (problem) return invalid(at, problem);
  return tooLarge(at, JSON.stringify(value));
}

/** `text`: a document as JSON. */
export function tooLarge(
  at: string,
  text: string,
  bytesMax = documentBytesMax,
): Complaint | undefined {
  const bytes = Buffer.byteLength(text);
  return bytes <= bytesMax
    ? undefined
    : {
        code: "document-too-large",
        message: `${at}: ${bytes} bytes`,
        hint: `a document is at most ${bytesMax} bytes; split it, or store a reference`,
      };
}

/**
 * Where a body does not fit its collection, of what the write changed: what others wrote, or a merge
 * made of it, is not held against this writer.
 */
export function mismatchesOf(
  collection: CollectionDeclaration,
  { before, after }: { before: JsonObject | undefined; after: JsonObject | undefined },
): string[] {
  if (!after) return [];
  return collection.fields.flatMap(({ path, type, required }) => {
    const names = namesOf(path);
    const value = valueAt(after, names);
    if (before && same(valueAt(before, names), value)) return [];
    if (value === undefined) return required ? [`${path} is required`] : [];
    return fits(value, type)
      ? []
      : [`${path}: ${JSON.stringify(value).slice(0, 60)} must be ${wordOf[type]}`];
  });
}

function fits(value: Json, type: FieldDeclaration["type"]): boolean {
  switch (type) {
    case "any":
      return true;
    case "integer":
      return Number.isSafeInteger(value);
    case "counter":
      return typeof value === "number";
    case "set":
    case "list":
      return Array.isArray(value);
    case "text":
      return typeof value === "string" && value.isWellFormed();
    default:
      return typeof value === type;
  }
}

const wordOf: Readonly<Record<FieldDeclaration["type"], string>> = {
  any: "anything",
  string: "text",
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  counter: "a number: it is a counter",
  set: "an array: it is a set",
  list: "an array: it is a list",
  text: "well-formed text",
};

/** SQLite's text would end at a NUL, or come back changed. */
const isPlainText = (text: string) => text !== "" && text.isWellFormed() && !/\p{Cc}/u.test(text);

const invalid = (field: string, problem: string): Complaint => ({
  code: "invalid-document",
  message: `${field}: ${problem}`,
});

export function unknownCollection(name: string, known: Iterable<string>): Complaint {
  return {
    code: "collection-unknown",
    message: `collection: there is no collection "${String(name).slice(0, 100)}"`,
    hint: hintForUnknown("Collection", String(name), known),
  };
}

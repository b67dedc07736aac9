/** Validation of what clients write: every refusal names the field, the value and what is allowed. */
import { hintForUnknown } from "../unknown.ts";
import type { Complaint } from "../streams/check.ts";
import { fieldOf, isObject, same, valueAt, type Json, type JsonObject } from "./json.ts";
import { isPointer, isWithin, join, namesOf } from "./pointer.ts";
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
export const fieldsMax = 2000;
const changesMax = 1000;
const elementsMax = 10_000;
/** A list remembers the place of every element that was removed from it; with these, in one field. */
export const listPlacesMax = 50_000;
/** What a request may go through of them, change by change: a second or two of the store's thread. */
export const placesWalkedMax = 10_000_000;
/** A text remembers where it was edited; with what it says, of all texts of a document. */
export const textBytesMax = 1024 * 1024;
/**
 * What names of maps come to once they stand before every field below them: an operation and a state
 * write each field down with its whole path, so a long name over many fields is many times its text.
 */
const pathBytesMax = 1024 * 1024;
const requestPathBytesMax = 8 * 1024 * 1024;

/** What the paths of a request come to beyond its own text. */
type Paths = { bytes: number };

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
  const paths: Paths = { bytes: 0 };
  for (const [index, write] of writes.entries()) {
    const complaint = checkWrite(write, `writes[${index}]`, { declared, paths });
    if (complaint) return complaint;
    if (paths.bytes > requestPathBytesMax) {
      return {
        code: "batch-too-large",
        message: `writes: the paths of their fields are more than ${requestPathBytesMax} bytes`,
        hint: "send fewer documents at a time, or give maps that hold many fields shorter names",
      };
    }
  }
  return undefined;
}

type Checking = { readonly declared: Declared; readonly paths: Paths };

function checkWrite(
  write: DocumentWrite,
  at: string,
  { declared, paths }: Checking,
): Complaint | undefined {
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
  // A path of a URL goes nowhere by these; what has such an id can still be deleted, in a batch.
  if ((id === "." || id === "..") && write.do !== "delete")
    return invalid(`${at}.id`, `"${id}" is a step in a path, and no name`);
  switch (write.do) {
    case "put":
      return checkValue(write.body, `${at}.body`, { isBody: true, paths });
    case "merge":
      return checkValue(write.patch, `${at}.patch`, { isBody: true, paths });
    case "change":
      return checkChanges(write.changes, `${at}.changes`, { collection, paths });
    case "delete":
      return undefined;
  }
}

function checkChanges(
  changes: readonly FieldChange[],
  at: string,
  { collection, paths }: { collection: CollectionDeclaration; paths: Paths },
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
    const complaint = checkChange(change, where, { needs, paths });
    if (complaint) return complaint;
  }
  return undefined;
}

function checkChange(
  change: FieldChange,
  where: string,
  { needs, paths }: { needs: (type: string) => Complaint | undefined; paths: Paths },
): Complaint | undefined {
  const isPlace = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  switch (change.change) {
    case "set":
      return checkValue(change.value, `${where}.value`, { above: change.path.length, paths });
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
  options: {
    isBody?: boolean;
    /** Length of the path that it stands at. */
    above?: number;
    /** Takes what its paths come to; absent for a value that is written down whole. */
    paths?: Paths;
  } = {},
): Complaint | undefined {
  if (value === undefined || (options.isBody && !isObject(value)))
    return invalid(at, options.isBody ? "must be a JSON object" : "is missing");
  let fields = 0;
  let pathBytes = 0;
  /** `above`: length of the path of what it looks at; absent within a list, which is one value. */
  const look = (inner: Json, depth: number, above?: number): string | undefined => {
    if (depth > depthMax) return `is nested more than ${depthMax} deep`;
    if (typeof inner === "number" && !Number.isFinite(inner)) return "holds a number past 1.8e308";
    if (typeof inner !== "object" || inner === null) return undefined;
    if (Array.isArray(inner)) {
      if (inner.length > elementsMax) return tooMany;
      for (const each of inner) {
        const problem = look(each, depth + 1);
        if (problem) return problem;
      }
      return undefined;
    }
    const named = Object.entries(inner);
    if ((fields += named.length) > fieldsMax) return tooMany;
    pathBytes += (above ?? 0) * named.length;
    for (const [name, each] of named) {
      const path = above === undefined ? undefined : above + name.length + 1;
      const problem = look(each, depth + 1, path);
      if (problem) return problem;
    }
    return undefined;
  };
  const problem = look(value, 0, options.above ?? 0);
  if (problem) return invalid(at, problem);
  if (options.paths) {
    if (pathBytes > pathBytesMax) {
      return {
        code: "document-too-large",
        message: `${at}: the paths of its fields, each with the names above it, are ${pathBytes} bytes`,
        hint: `at most ${pathBytesMax}: give maps that hold many fields shorter names, or put the map into a list`,
      };
    }
    options.paths.bytes += pathBytes;
  }
  return tooLarge(at, JSON.stringify(value));
}

const tooMany = `holds more than ${fieldsMax} fields, or a list of more than ${elementsMax}`;

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

/**
 * What a whole body would take away of a document that a later schema was written to, and that nobody
 * here declares: it was not there to be seen for who wrote the body.
 */
export function erasedBy(
  collection: CollectionDeclaration,
  { schema, before, after }: { schema: number; before: JsonObject; after: JsonObject },
): string[] {
  if (schema <= collection.schemaVersion) return [];
  const isDeclared = (path: string) =>
    collection.fields.some((field) => isWithin(field.path, path) || isWithin(path, field.path));
  const gone = (was: JsonObject, is: JsonObject, above: string): string[] =>
    Object.entries(was).flatMap(([name, value]) => {
      const path = join(above, name);
      const now = fieldOf(is, name);
      if (isObject(value) && isObject(now)) return gone(value, now, path);
      return now !== undefined || isDeclared(path) ? [] : [path];
    });
  const paths = gone(before, after, "");
  if (paths.length === 0) return [];
  const some = [...paths.slice(0, erasedShown), ...(paths.length > erasedShown ? ["…"] : [])];
  return [
    `${some.join(", ")} would be removed, which schemaVersion ${schema} may declare and this node, with ${collection.schemaVersion}, does not know: send a merge patch, which leaves what it does not name`,
  ];
}

const erasedShown = 5;

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

/**
 * What a store writes into its log: one operation a write, over one or many documents. It says which
 * operations of other stores it had seen (only what is new since the operation before it), so every
 * store can tell "knew of it and replaced it" from "did not know of it". An operation does not look
 * at schemas: what it means is the same for every store, whatever version of the schema that has.
 */
import { SkerryError } from "../../lib/errors.ts";
import { isStamp } from "./hybrid-clock.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import { isPointer } from "./pointer.ts";
import { isTextState } from "./text.ts";
import { knownChanges, type Change, type Operation, type Write } from "../../api/records/index.ts";

/** An operation is named by the store that wrote it and its place in that store's log, from 1. */
export type Dot = { readonly origin: string; readonly sequence: number };
export type Stamp = Dot & { readonly hlc: number };

export {
  knownChanges,
  type Change,
  type ElementId,
  type ObservedCounts,
  type Operation,
  type Write,
} from "../../api/records/index.ts";

/** What an operation says of the key that its request came under. */
export type LoggedKey = Required<Pick<Operation, "key" | "once">>;

/** Checked field by field: `invalid-batch`. */
export function readOperation(text: string): Operation {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid("operation", "is not JSON", cause);
  }
  if (!isObject(value)) throw invalid("operation", "must be an object");
  const { hlc, seen, writes, key, once, covers } = value;
  if (!isStamp(hlc)) throw invalid("hlc", "must be a stamp");
  if (!isObject(seen) || !Object.values(seen).every(isPosition))
    throw invalid("seen", "must be positions by origin");
  if (key !== undefined && typeof key !== "string") throw invalid("key", "must be text");
  if (once !== undefined && typeof once !== "string") throw invalid("once", "must be text");
  if (!Array.isArray(writes)) throw invalid("writes", "must be a list");
  if (covers !== undefined && !(isPosition(covers) && writes.length === 0))
    throw invalid("covers", "must be a number of positions, of an operation without writes");
  for (const write of writes as readonly Json[]) checkWrite(write);
  return value as unknown as Operation;
}

/**
 * Of what is about to be logged, whether others will read it as it was meant. Fields that are just set
 * were looked at with their request. Throws `invalid-document`.
 */
export function requireReadable(writes: readonly Write[]): void {
  for (const { collection, id, changes } of writes)
    for (const change of changes) {
      if (change.type === "set" && !change.counts) continue;
      const isNumber = change.type !== "count" || Number.isFinite(change.by);
      if (isNumber && isChange(change as unknown as JsonObject)) continue;
      throw new SkerryError({
        code: "invalid-document",
        message: `${collection}/${id}: other stores could not read this ${change.type} of ${change.path}`,
        hint: "nothing was written",
      });
    }
}

function checkWrite(write: Json): void {
  if (!isObject(write)) throw invalid("writes", "must be objects");
  const { collection, id, verb, schema, changes } = write;
  if (typeof collection !== "string" || typeof id !== "string")
    throw invalid("writes", "must name a collection and a document");
  if (verb !== "edit" && verb !== "delete") throw invalid("verb", "must be edit or delete");
  if (schema !== undefined && !isStamp(schema)) throw invalid("schema", "must be a whole number");
  if (!Array.isArray(changes)) throw invalid("changes", "must be a list");
  for (const change of changes as readonly Json[]) {
    if (!isObject(change) || typeof change["type"] !== "string")
      throw invalid("changes", "must have a type");
    if (knownChanges.has(change["type"]) && !isChange(change))
      throw invalid("changes", `${change["type"]} is not as this version knows it`);
  }
}

function isChange(change: JsonObject): boolean {
  const { type, path, value, counts, by, after, n, values, ids, update } = change;
  if (!isPointer(path)) return false;
  switch (type as Change["type"]) {
    case "set":
      return path !== "" && value !== undefined && isCounts(counts);
    case "remove":
      return isCounts(counts);
    case "count":
      return path !== "" && isSum(by, change, "by");
    case "add":
    case "discard":
      return path !== "" && value !== undefined;
    case "insert":
      return (
        path !== "" &&
        (after === null || typeof after === "string") &&
        isPosition(n) &&
        Array.isArray(values)
      );
    case "delete":
      return path !== "" && Array.isArray(ids) && ids.every((id) => typeof id === "string");
    case "text":
      return path !== "" && isTextState(update);
  }
}

const isCounts = (counts: Json | undefined): boolean =>
  counts === undefined ||
  (isObject(counts) &&
    Object.entries(counts).every(
      ([path, byOrigin]) =>
        isPointer(path) &&
        isObject(byOrigin) &&
        Object.values(byOrigin).every(
          (pair) => Array.isArray(pair) && isPosition(pair[0]) && isSum(pair[1], pair, 1),
        ),
    ));

/**
 * Earlier versions logged numbers past 1.8e308, which JSON says as null, and nobody took their logs any
 * more: it is read as the number that it was, wherever it stands.
 */
function isSum(value: Json | undefined, within: object, at: string | number): boolean {
  if (value === null) Object.assign(within, { [at]: Infinity });
  return value === null || typeof value === "number";
}

const isPosition = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 1;

const invalid = (field: string, problem: string, cause?: unknown) =>
  new SkerryError({
    code: "invalid-batch",
    message: `operation of documents: ${field} ${problem}`,
    hint: "the other side is damaged, or speaks a later version of the format",
    cause,
  });

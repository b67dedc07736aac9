/** A request and the documents as they stand: what is written, on which condition, or why not. Pure. */
import type { Complaint } from "../streams/check.ts";
import { mismatchesOf, tooLarge } from "../documents/check.ts";
import { mergePatch, objectOf, same, valueAt, type JsonObject } from "../documents/json.ts";
import { namesOf } from "../documents/pointer.ts";
import type { CollectionDeclaration, DocumentWrite, FieldChange } from "../documents/store.ts";
import type { StrongChange, StrongCondition } from "../ports.ts";
import { applyChanges } from "./change.ts";
import { encodeStored, keyOf, strongDocumentBytesMax, type Stored } from "./stored.ts";

/** Documents that one request may name: with a condition on each they are one transaction. */
export const strongWritesMax = 64;
/** Of the documents that one request writes. */
const requestBytesMax = 1024 * 1024;

export type StrongPlan =
  | { readonly state: "refused"; readonly complaint: Complaint }
  /** What the caller saw last is not what stands there. */
  | { readonly state: "mismatch"; readonly id: string; readonly message: string }
  | {
      readonly state: "planned";
      readonly when: readonly StrongCondition[];
      readonly changes: readonly StrongChange[];
      readonly warnings: readonly string[];
    };

type Now = { readonly schemaVersion: number; readonly body: JsonObject };

/** `standing`: by id, every document that the request names and that there is. */
export function planWrites(
  collection: CollectionDeclaration,
  writes: readonly DocumentWrite[],
  standing: ReadonlyMap<string, Stored>,
): StrongPlan {
  const now = new Map<string, Now | undefined>();
  const warnings: string[] = [];
  for (const [index, write] of writes.entries()) {
    const { id } = write;
    const at = `writes[${index}] (${collection.name}/${id})`;
    const stored = standing.get(id);
    const problem = conditionProblem(write, stored);
    if (problem !== undefined) return { state: "mismatch", id, message: `${at}: ${problem}` };
    const before: Now | undefined = now.has(id) ? now.get(id) : stored;
    const after = performed(write, before?.body);
    if (before && after && same(before.body, after)) continue;
    if (after === undefined) {
      now.set(id, undefined);
      continue;
    }
    const overflow = overflowOf(write, after);
    if (overflow !== undefined)
      return refused({
        code: "invalid-document",
        message: `${at}: ${overflow} would count past 1.8e308`,
      });
    const mismatches = mismatchesOf(collection, { before: before?.body, after });
    if (mismatches.length > 0 && collection.onMismatch === "refuse")
      return refused({
        code: "invalid-document",
        message: `${at}: ${mismatches.join("; ")}`,
        hint: "the fields are declared in the Collection; nothing was written",
      });
    warnings.push(...mismatches.map((mismatch) => `${at}: ${mismatch}`));
    const complaint = tooLarge(at, JSON.stringify(after), strongDocumentBytesMax);
    if (complaint) return refused(complaint);
    now.set(id, { schemaVersion: collection.schemaVersion, body: after });
  }
  return transactionOf(writes, standing, now, warnings);
}

function transactionOf(
  writes: readonly DocumentWrite[],
  standing: ReadonlyMap<string, Stored>,
  now: ReadonlyMap<string, Now | undefined>,
  warnings: readonly string[],
): StrongPlan {
  const ids = [...new Set(writes.map(({ id }) => id))];
  const changes = ids.flatMap((id): StrongChange[] => {
    if (!now.has(id)) return [];
    const document = now.get(id);
    if (!document) return standing.has(id) ? [{ key: keyOf(id) }] : [];
    return [{ key: keyOf(id), value: encodeStored(document) }];
  });
  const bytes = changes.reduce((sum, { value }) => sum + (value?.byteLength ?? 0), 0);
  if (bytes > requestBytesMax)
    return refused({
      code: "batch-too-large",
      message: `writes: ${bytes} bytes of documents in one request`,
      hint: `write at most ${requestBytesMax} bytes at a time`,
    });
  // A batch that changes nothing is asked all the same: its documents were so at one moment.
  const needed = changes.length > 0 || ids.length > 1 ? ids : [];
  const when = needed.map((id) => ({ key: keyOf(id), revision: standing.get(id)?.revision ?? 0 }));
  return { state: "planned", when, changes, warnings };
}

function conditionProblem({ ifVersion }: DocumentWrite, stored: Stored | undefined) {
  if (ifVersion === undefined) return undefined;
  if (!stored) return ifVersion === null ? undefined : `is not there, and was to be ${ifVersion}`;
  if (ifVersion === String(stored.revision)) return undefined;
  return `is of version ${stored.revision}, and was ${ifVersion === null ? "not to be there" : `to be ${ifVersion}`}`;
}

function performed(write: DocumentWrite, before: JsonObject | undefined): JsonObject | undefined {
  switch (write.do) {
    case "put":
      return write.body;
    case "merge":
      // A patch is an object, so what comes of it is one.
      return mergePatch(before ?? objectOf([]), write.patch) as JsonObject;
    case "change":
      return applyChanges(before ?? objectOf([]), write.changes);
    case "delete":
      return undefined;
  }
}

/** Of what it counts, a path where the sum is more than JSON can hold. */
function overflowOf(write: DocumentWrite, after: JsonObject): string | undefined {
  if (write.do !== "change") return undefined;
  const isPast = ({ change, path }: FieldChange) => {
    const sum = change === "increment" ? valueAt(after, namesOf(path)) : undefined;
    return typeof sum === "number" && !Number.isFinite(sum);
  };
  return write.changes.find(isPast)?.path;
}

const refused = (complaint: Complaint): StrongPlan => ({ state: "refused", complaint });

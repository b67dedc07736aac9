/**
 * Changes of single fields where nothing merges: each is made on the document as it stands, which is
 * then written on condition that it still stands so.
 */
import {
  objectOf,
  same,
  valueAt,
  withValue,
  type Json,
  type JsonObject,
} from "../documents/json.ts";
import { namesOf } from "../documents/pointer.ts";
import type { FieldChange } from "../documents/store.ts";

export function applyChanges(body: JsonObject, changes: readonly FieldChange[]): JsonObject {
  return changes.reduce(
    (now, change) => {
      const names = namesOf(change.path);
      return withValue(now, names, changed(valueAt(now, names), change));
    },
    objectOf(Object.entries(body)),
  );
}

/** What was checked against the declared fields; a field that holds something else begins anew. */
function changed(current: Json | undefined, change: FieldChange): Json | undefined {
  const list: readonly Json[] = Array.isArray(current) ? current : [];
  switch (change.change) {
    case "set":
      return change.value;
    case "remove":
      return undefined;
    case "increment":
      return (typeof current === "number" ? current : 0) + change.by;
    case "add":
      return list.some((each) => same(each, change.value)) ? list : [...list, change.value];
    case "discard":
      return current === undefined ? current : list.filter((each) => !same(each, change.value));
    case "insert":
      return list.toSpliced(change.index ?? list.length, 0, ...change.values);
    case "delete":
      return current === undefined ? current : list.toSpliced(change.index, change.count ?? 1);
    case "edit":
      // Texts merge; none can be declared in a strong collection, and an edit needs one that is.
      return current;
  }
}

/** Rows of queries as columns. */
import { parsePath, valueAtPath } from "../api/records/index.ts";
import type { Entry, QueryGroup, QueryRow } from "../client/index.ts";
import type { Json, JsonObject } from "../lib/json.ts";

export type Row = QueryRow | QueryGroup | Entry;
export type Column = { readonly label: string; readonly valueOf: (row: Row) => Json | undefined };

/** What would break a line or a column is shown as JSON. */
export const cells = (values: readonly (Json | undefined)[]): string[] =>
  values.map((value) =>
    value === undefined
      ? ""
      : typeof value === "string" && !/\p{Cc}/u.test(value)
        ? value
        : JSON.stringify(value),
  );

/** Of entries always with their time. */
export function rowColumns(
  { fields }: { fields?: readonly string[] },
  kind: "collection" | "stream",
  { onHub }: { onHub: boolean } = { onHub: false },
): Column[] {
  const cell: Column = { label: "cell", valueOf: (row) => ("cell" in row ? row.cell : undefined) };
  const whose = onHub ? [cell] : [];
  const at: Column = { label: "at", valueOf: (row) => ("at" in row ? row.at : undefined) };
  const id: Column = { label: "id", valueOf: (row) => ("id" in row ? row.id : undefined) };
  const bodyOf = (row: Row) => ("body" in row ? (row.body as JsonObject) : {});
  if (!fields) return [...whose, kind === "stream" ? at : id, { label: "body", valueOf: bodyOf }];
  const named = fields.map((label): Column => {
    // What is no field, the node refuses.
    const path = parsePath(label) ?? [];
    const idOf = (row: Row) => ("id" in row ? row.id : "cursor" in row ? String(row.cursor) : "");
    return { label, valueOf: (row) => valueAtPath({ id: idOf(row), body: bodyOf(row) }, path) };
  });
  return [...whose, ...(kind === "stream" ? [at] : []), ...named];
}

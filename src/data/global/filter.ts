/** What a published collection is: which cells a document is for, and how its fields merge. */
import { valueAt, type Json, type JsonObject } from "../documents/json.ts";
import { namesOf } from "../documents/pointer.ts";
import type { CollectionDeclaration } from "../documents/store.ts";
import type { Publication } from "./documents.ts";

/** The filter as it stands, counted from 1. */
export type PublishedFilter = Publication & { readonly version: number };

export const publicationOf = ({
  name,
  cells,
  cellField,
  fromCells,
}: PublishedFilter): Publication => ({
  name,
  ...(fromCells === undefined ? {} : { fromCells }),
  ...(cells === undefined ? {} : { cells }),
  ...(cellField === undefined ? {} : { cellField }),
});

/** As a cell would declare it; by name. */
export function declared(
  name: string,
  filter: Publication | undefined,
): ReadonlyMap<string, CollectionDeclaration> {
  const fields = (filter?.fromCells?.fields ?? []).map((field) => ({ ...field, required: false }));
  return new Map([[name, { name, schemaVersion: 1, onMismatch: "warn", fields }]]);
}

export function isFor({ cells, cellField }: Publication, cell: string, body: JsonObject): boolean {
  if (cells && !cells.includes(cell)) return false;
  if (cellField === undefined) return true;
  const named: Json | undefined = valueAt(body, namesOf(cellField));
  return Array.isArray(named) ? named.includes(cell) : named === cell;
}

/** Entries of a page as they cross a thread: a cursor travels as its number, under one view. */
import type { StoredEntry } from "../../api/index.ts";
import { unpack, type PackedEntries } from "../batch/packed.ts";
import type { ReadEntry } from "./store.ts";

export const packableOf = (entry: ReadEntry) => ({
  ...entry,
  id: Number(entry.cursor.slice(entry.cursor.indexOf(".") + 1)),
});

export const readEntries = (page: PackedEntries, view: string): ReadEntry[] =>
  unpack(page).map(({ id, ...entry }) => ({ ...(entry as StoredEntry), cursor: `${view}.${id}` }));

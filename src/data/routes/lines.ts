/** Entries as people and programs read them over HTTP: one JSON object a line. */
import { originOfLog } from "../tables/lanes.ts";
import type { StoredEntry } from "../../api/index.ts";

export type ShownEntry = StoredEntry & { readonly cursor: string; readonly cell?: string };

/** All but the body. */
export const entryHead = ({ stream, atMs, key, position, cursor, cell }: ShownEntry) => ({
  ...(cell === undefined ? {} : { cell }),
  stream,
  at: new Date(atMs).toISOString(),
  ...key,
  origin: originOfLog(position.origin),
  position: position.sequence,
  cursor,
});

/** The body is put in as it is stored; it was checked to be one JSON object when it came. */
export function entryJson(entry: ShownEntry): string {
  const head = JSON.stringify(entryHead(entry));
  const { body } = entry;
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  // A line break in JSON is white space, here it would end the line.
  return `${head.slice(0, -1)},"body":${text.replaceAll(/[\r\n]/g, " ")}}`;
}

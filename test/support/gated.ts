import { columnsOf, entriesOf, type StoredEntry } from "../../src/api/index.ts";
import type { GateBatch, GatedBatch } from "../../src/privacy/gate/index.ts";

/** The bodies that leave. */
export const bodiesOf = ({ origin, columns }: GatedBatch): string[] =>
  entriesOf(origin, columns).map(({ body }) => Buffer.from(body).toString());

/** All of a log. */
export const logOf = (origin: string, entries: readonly StoredEntry[]): GateBatch => ({
  origin,
  from: 1,
  to: entries.at(-1)?.position.sequence ?? 0,
  columns: columnsOf(entries),
});

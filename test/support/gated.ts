import { entriesOf } from "../../src/api/index.ts";
import type { GatedBatch } from "../../src/privacy/gate/index.ts";

/** The bodies that leave. */
export function bodiesOf(batch: GatedBatch): string[] {
  const entries = "columns" in batch ? entriesOf(batch.origin, batch.columns) : batch.entries;
  return entries.map(({ body }) => Buffer.from(body).toString());
}

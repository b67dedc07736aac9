/** A row of the entry table as SQLite gives it, to what sealing and reading work with. */
import type { SealedRow } from "../batch/segment.ts";

export const rowColumns =
  "id, origin, sequence, stream, producer, epoch, producer_sequence, at_ms, body";

export function toSealedRow(row: Record<string, unknown>): SealedRow {
  const producer = row["producer"];
  return {
    id: row["id"] as number,
    origin: row["origin"] as number,
    sequence: row["sequence"] as number,
    key:
      producer === null
        ? undefined
        : {
            producer: producer as number,
            epoch: row["epoch"] as number,
            sequence: row["producer_sequence"] as number,
          },
    atMs: row["at_ms"] as number,
    body: row["body"] as Uint8Array,
  };
}

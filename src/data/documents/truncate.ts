/**
 * Forgets the log from its beginning: what an operation did is in the documents, and who still lacks
 * it gets these. Never what is not applied here, and nothing at all in a store that left something
 * out of its documents, for only the log still has that. Runs inside a transaction of its owner.
 */
import type { Vector } from "../streams/store.ts";
import type { DocumentTables, OriginRow } from "./tables.ts";

export type TruncateLimits = {
  /** By origin, what nobody will ask for any more as operations. */
  readonly acked: Vector;
  /** Of the whole log, whoever lacks what. */
  readonly bytesMax: number;
  /** Operations in one step. */
  readonly rowsMax: number;
};

/** `forced`: of these, what not everybody had. */
export type Truncated = {
  readonly operations: number;
  readonly forced: number;
  readonly more: boolean;
};

export function truncate(
  { tables, rows }: { tables: DocumentTables; rows: readonly OriginRow[] },
  { acked, bytesMax, rowsMax }: TruncateLimits,
): Truncated {
  const nothing = { operations: 0, forced: 0, more: false };
  if (tables.leftOut() !== undefined) return nothing;
  const forget = (row: OriginRow, upto: number, most: number): number => {
    const before = row.floor;
    const gone = tables.forgetOperations(row, upto, most);
    row.floor = Math.max(before, gone.upto);
    row.bytes -= gone.bytes;
    tables.saveOrigin(row);
    return row.floor - before;
  };
  const ackedOf = ({ name, applied }: OriginRow) => Math.min(acked[name] ?? 0, applied);
  let left = rowsMax;
  let operations = 0;
  for (const row of rows) {
    if (left <= 0) return { operations, forced: 0, more: true };
    if (ackedOf(row) > row.floor) {
      const gone = forget(row, ackedOf(row), left);
      operations += gone;
      left -= gone;
    }
  }
  let forced = 0;
  const bytes = () => rows.reduce((sum, row) => sum + row.bytes, 0);
  while (left > 0 && bytes() > bytesMax) {
    const [largest] = rows
      .filter(({ applied, floor }) => applied > floor)
      .sort((a, b) => b.bytes - a.bytes);
    if (!largest) break;
    // Some at a time: the others may be the largest then.
    const gone = forget(largest, largest.applied, Math.min(left, forcedStep));
    if (gone === 0) break;
    forced += gone;
    left -= gone;
  }
  return { operations: operations + forced, forced, more: left <= 0 };
}

const forcedStep = 100;

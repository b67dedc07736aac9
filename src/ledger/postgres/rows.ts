/** Rows of `skerry_ledger` as the contract's values. */
import { SkerryError } from "../../lib/errors.ts";
import type { Row } from "../../runtime/postgres/index.ts";
import { compacted, futureRevision } from "../checks.ts";
import type { KeyValue, LeaseId, Revision } from "../ledger.ts";

export type State = { readonly revision: Revision; readonly compacted: Revision };

/** Of `history h`; with them the row of `state s` that was there at the same moment. */
export const columns = "h.key, h.value, h.create_revision, h.revision, h.version, h.lease";
export const stateColumns = "s.revision AS at, s.compacted";

/** Conditions on `history h`: what stands now, and what stood at the revision of a parameter. */
export const standsNow = "h.superseded IS NULL";
export const stoodAt = (parameter: string) =>
  `h.revision <= ${parameter} AND (h.superseded IS NULL OR h.superseded > ${parameter})`;

/** Throws `store-damaged` where somebody emptied the table. */
export function stateOf(row: Row | undefined): State {
  if (row)
    return {
      revision: Number(row["at"]) as Revision,
      compacted: Number(row["compacted"]) as Revision,
    };
  throw new SkerryError({
    code: "store-damaged",
    message: "skerry_ledger.state has no row: the ledger in PostgreSQL is not whole",
    hint: "restore the database from a backup",
  });
}

/** Undefined where no row was joined, and for a deletion. */
export function keyValueOf(row: Row | undefined): KeyValue | undefined {
  const value = row?.["value"];
  if (!row || !(value instanceof Uint8Array)) return undefined;
  const lease = row["lease"];
  return {
    key: String(row["key"]),
    // Of its own: the driver's bytes are a piece of something larger.
    value: new Uint8Array(value),
    createRevision: Number(row["create_revision"]) as Revision,
    modRevision: Number(row["revision"]) as Revision,
    version: Number(row["version"]),
    ...(typeof lease === "string" ? { lease: lease as LeaseId } : {}),
  };
}

/** Throws `compacted`, `future-revision`. */
export function assertReadable(asked: Revision, state: State): void {
  if (!Number.isSafeInteger(asked) || asked > state.revision)
    throw futureRevision(asked, state.revision);
  if (asked < state.compacted) throw compacted(asked, state.compacted);
}

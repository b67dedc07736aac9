/** Cursors: a place in one store's merged view. They mean nothing to another store, and say so. */
import { SkerryError } from "../../lib/errors.ts";

export const pageLimitMax = 10_000;

/** The row id in a cursor of this view; 0 without a cursor. Throws `invalid-cursor`. */
export function parseCursor(cursor: string | undefined, view: string): number {
  if (cursor === undefined || cursor === "") return 0;
  const [, cursorView, id] = /^([a-z0-9]+)\.(\d{1,15})$/.exec(cursor) ?? [];
  if (cursorView === view && id !== undefined) return Number(id);
  throw new SkerryError({
    code: "invalid-cursor",
    message: `after: "${cursor.slice(0, 60)}" is not a cursor of this store`,
    hint: "a cursor is good only where it was given out; read from the start, or from a time with from=",
  });
}

/** Default 1000. Throws `invalid-limit`. */
export function pageLimit(limit: number | undefined): number {
  if (limit === undefined) return 1000;
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= pageLimitMax) return limit;
  throw new SkerryError({
    code: "invalid-limit",
    message: `limit: ${limit} must be a whole number from 1 to ${pageLimitMax}`,
  });
}

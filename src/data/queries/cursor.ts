/**
 * Cursors of queries: the sort keys and the id of the last document that was looked at, and which
 * query they belong to. They hold no place in a store, so they are good on every node of the cell.
 */
import { createHash } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import { stable } from "../../lib/stable.ts";
import type { Query } from "./query.ts";

export type Place = { readonly keys: readonly Buffer[]; readonly id: string };

export function encodeCursor(of: string, { keys, id }: Place): string {
  const parts = [of, id, ...keys.map((key) => key.toString("base64url"))];
  return Buffer.from(JSON.stringify(parts)).toString("base64url");
}

/** Throws `invalid-cursor`. */
export function decodeCursor(of: string, cursor: string): Place {
  const [found, id, ...keys] = partsOf(cursor);
  if (found === of && id !== undefined)
    return { id, keys: keys.map((key) => Buffer.from(key, "base64url")) };
  throw new SkerryError({
    code: "invalid-cursor",
    message: `cursor: "${cursor.slice(0, 40)}" is not of this query`,
    hint: "a cursor goes on with the same collection, where and sort; leave it out to begin again",
  });
}

function partsOf(cursor: string): string[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    if (Array.isArray(parts) && parts.every((part) => typeof part === "string")) return parts;
  } catch {
    // What is no JSON is no cursor; the caller says so.
  }
  return [];
}

/** Tells queries apart whose pages do not go together. */
export function fingerprint(collection: string, { where, shape }: Query): string {
  const parts = shape.rows === "documents" ? { sort: shape.sort } : shape;
  const text = stable({ collection, where, ...parts });
  return createHash("sha256").update(text).digest("base64url").slice(0, 12);
}

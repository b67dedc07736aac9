/**
 * Requests that take effect once however often they are sent: a client's key goes with its caller, the
 * collections and what was asked for, so that nobody's write is taken for another one.
 */
import { createHash } from "node:crypto";
import { stable } from "../../lib/stable.ts";
import type { LoggedKey } from "./operation.ts";
import type { DocumentWrite, GivenKey } from "./store.ts";

export type Once = {
  /** Of who asks under which key for what place. */
  readonly id: string;
  /** What was asked for under it. */
  readonly of: string;
};

export const onceOf = (
  place: readonly (string | readonly string[])[],
  writes: readonly DocumentWrite[],
): Once => ({
  id: digest(stable(place)),
  of: digest(stable(writes)).slice(0, 22),
});

const digest = (text: string) => createHash("sha256").update(text).digest("base64url");

export type WriteKey = {
  readonly id: string;
  /** With what of it an operation says: `once` also stands among the keys. */
  readonly logged: LoggedKey;
};

export function writeKeyOf(
  { key, caller = "" }: GivenKey,
  writes: readonly DocumentWrite[],
): WriteKey | undefined {
  if (key === undefined) return undefined;
  const collections = [...new Set(writes.map(({ collection }) => collection))].sort();
  const { id, of } = onceOf([caller, collections, key], writes);
  return { id, logged: { key, once: `${id}.${of}` } };
}

/** Between these stand the names of an id: a digest holds no dot, and `/` comes next behind it. */
export const namesOfKey = (id: string) => [`${id}.`, `${id}/`] as const;

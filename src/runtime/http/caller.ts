/** Who sent a request, as the listener found out; for routes of rooms that know nothing of identities. */

import { SkerryError } from "../../lib/errors.ts";

const idByRequest = new WeakMap<object, string>();

/** For the listener, once it knows. `id` is a SPIFFE id. */
export function setCaller(request: object, id: string): void {
  idByRequest.set(request, id);
}

/** Of a SPIFFE id: `/user/NAME` is a person, with credentials of the cell or of this machine. */
export const isPerson = (caller: string): boolean => /^spiffe:\/\/[^/]+\/user\/[^/]+$/.test(caller);

/** Undefined where the listener asks for no identity. */
export function callerOf(request: object): string | undefined {
  return idByRequest.get(request);
}

/** Who sent it, with the token that says so, for what is passed on to another node. Throws `unauthenticated`. */
export function tokenCallerOf(request: {
  readonly headers: { readonly authorization?: string | undefined };
}): { id: string; token: string } {
  const id = callerOf(request);
  const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (id !== undefined && token !== undefined) return { id, token };
  throw new SkerryError({
    code: "unauthenticated",
    message: "there is no token",
    hint: "send authorization: Bearer TOKEN",
  });
}

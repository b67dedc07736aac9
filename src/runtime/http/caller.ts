/** Who sent a request, as the listener found out; for routes of rooms that know nothing of identities. */

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

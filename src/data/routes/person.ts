/** Routes for people with credentials of this machine: what costs a store more than applications may ask. */
import { SkerryError } from "../../lib/errors.ts";
import { isPerson } from "../../runtime/http/index.ts";

/** Throws `forbidden`. `caller`: a SPIFFE id, of which `/user/NAME` is a person's. */
export function requirePerson(caller: string | undefined, what: string): void {
  if (caller !== undefined && isPerson(caller)) return;
  throw new SkerryError({
    code: "forbidden",
    message: `${caller ?? "nobody"} may not ${what}`,
    hint: "use the skerry command on the node's machine",
  });
}

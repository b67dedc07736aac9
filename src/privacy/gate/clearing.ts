/** What of one body a policy lets out, as bytes (P2 to P4). */
import type { EgressPolicy } from "../../api/index.ts";
import { admissionOf, admits } from "./admission.ts";
import { parseBody, writeBody } from "./body.ts";
import { isCanonical } from "./canonical.ts";
import { compilePolicy, filter } from "./policy.ts";

export interface Clearing {
  /**
   * Written anew; the very same bytes where that would make the same of them. Undefined: this is no
   * JSON object.
   */
  body(body: Uint8Array): Uint8Array | undefined;
}

/** Of what is no JSON object. */
export const noFields: Uint8Array = Buffer.from("{}");

/** Throws `invalid-egress`. */
export function createClearing(policy: EgressPolicy): Clearing {
  const compiled = compilePolicy(policy);
  const admission = admissionOf(compiled);
  return {
    body(body) {
      // Most readings: looked at twice they cost a tenth of being parsed, filtered and written.
      if (admits(admission, body) && isCanonical(body)) return body;
      const value = parseBody(body);
      return value && writeBody(filter(compiled, value));
    },
  };
}

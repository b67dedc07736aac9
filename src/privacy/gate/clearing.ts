/** What of one body a policy lets out, as bytes (P2 to P4). */
import type { EgressPolicy } from "../../api/index.ts";
import { admissionOf, admits } from "./admission.ts";
import { parseBody, writeBody } from "./body.ts";
import { isCanonical } from "./canonical.ts";
import { compilePolicy, filter } from "./policy.ts";

export interface Clearing {
  /** Whether the body from `start` up to `end` leaves as it is. */
  passes(bodies: Uint8Array, start: number, end: number): boolean;
  /** What of it may leave. Undefined: this is no JSON object. */
  rewritten(body: Uint8Array): Uint8Array | undefined;
}

/** Of what is no JSON object. */
export const noFields: Uint8Array = Buffer.from("{}");

/** Throws `invalid-egress`. */
export function createClearing(policy: EgressPolicy): Clearing {
  const compiled = compilePolicy(policy);
  const admission = admissionOf(compiled);
  // Most readings: looked at twice they cost a tenth of being parsed, filtered and written.
  const passes: Clearing["passes"] = (bodies, start, end) =>
    admits(admission, bodies, start, end) && isCanonical(bodies, start, end);
  const rewritten: Clearing["rewritten"] = (body) => {
    const value = parseBody(body);
    return value && writeBody(filter(compiled, value));
  };
  return { passes, rewritten };
}

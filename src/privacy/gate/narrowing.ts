/** What the gate lets out, for whoever holds a store against the hub's copy of it; nothing leaves by this. */
import type { EgressPolicy, PackedState } from "../../api/records/index.ts";
import { parseBody, writeBody } from "./body.ts";
import { compilePolicy, filter, type CompiledPolicy } from "./policy.ts";
import { createStateRecheck } from "./states.ts";

export type Narrowing = {
  /** Of a document's state. Throws `invalid-egress`. */
  state(state: PackedState, policy: EgressPolicy): PackedState;
  /** Of an entry's body. Throws `invalid-egress`. */
  body(body: Uint8Array, policy: EgressPolicy): Uint8Array;
};

export function createNarrowing(): Narrowing {
  const compiledByPolicy = new WeakMap<EgressPolicy, CompiledPolicy>();
  return {
    state: createStateRecheck().narrowState,
    body(body, policy) {
      const compiled = compiledByPolicy.get(policy) ?? compilePolicy(policy);
      compiledByPolicy.set(policy, compiled);
      const value = parseBody(body);
      return writeBody(value ? filter(compiled, value) : {});
    },
  };
}

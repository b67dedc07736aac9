/** What the gate lets out, for whoever holds a store against the hub's copy of it; nothing leaves by this. */
import type { EgressPolicy, PackedState } from "../../api/records/index.ts";
import { createClearing, noFields, type Clearing } from "./clearing.ts";
import { createStateRecheck } from "./states.ts";

export type Narrowing = {
  /** Of a document's state. Throws `invalid-egress`. */
  state(state: PackedState, policy: EgressPolicy): PackedState;
  /** Of an entry's body. Throws `invalid-egress`. */
  body(body: Uint8Array, policy: EgressPolicy): Uint8Array;
};

export function createNarrowing(): Narrowing {
  const clearingByPolicy = new WeakMap<EgressPolicy, Clearing>();
  return {
    state: createStateRecheck().narrowState,
    body(body, policy) {
      const clearing = clearingByPolicy.get(policy) ?? createClearing(policy);
      clearingByPolicy.set(policy, clearing);
      return clearing.passes(body, 0, body.length) ? body : (clearing.rewritten(body) ?? noFields);
    },
  };
}

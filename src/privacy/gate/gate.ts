/**
 * The one way out of the cell (rule P). Only this file makes a `Cleared` value, and the hub link takes
 * nothing else. Entries of streams without a policy do not leave; of all others the fields that the
 * policy names. What is not JSON has no fields, and leaves as `{}`.
 */
import type { EgressPolicy, StoredEntry } from "../../api/index.ts";
import type { Log } from "../../lib/log.ts";
import { createClearing, noFields, type Clearing } from "./clearing.ts";

declare const cleared: unique symbol;
/** What the gate let through. */
export type Cleared<T> = T & { readonly [cleared]: true };

/** A piece of one origin's log, as `data` reads it. */
export type GateBatch = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly entries: readonly StoredEntry[];
};
/** With the policies that it was cleared by, for the hub to check again. */
export type GatedBatch = GateBatch & { readonly policies: Readonly<Record<string, EgressPolicy>> };

export type ClearedBatch = Omit<GateBatch, "entries"> & {
  readonly entries: number;
  readonly bytes: Cleared<Uint8Array>;
};

export type GateCounts = {
  /** Entries that left, entries of streams that stay, and bodies that were no JSON object. */
  readonly cleared: number;
  readonly held: number;
  readonly unreadable: number;
};

export interface Gate {
  /** By stream. A policy that cannot be read is logged, and lets nothing out. */
  setPolicies(policies: Readonly<Record<string, EgressPolicy>>): void;
  clear(batch: GateBatch): ClearedBatch;
  readonly counts: GateCounts;
}

export function createGate(deps: { encode: (batch: GatedBatch) => Uint8Array; log: Log }): Gate {
  let knownByStream = new Map<string, { policy: EgressPolicy; clearing: Clearing }>();
  const counts = { cleared: 0, held: 0, unreadable: 0 };
  return {
    setPolicies(policies) {
      const next: typeof knownByStream = new Map();
      for (const [stream, policy] of Object.entries(policies)) {
        try {
          next.set(stream, { policy, clearing: createClearing(policy) });
        } catch (error) {
          deps.log.error("nothing leaves of this stream: its egress cannot be read", {
            stream,
            error,
          });
        }
      }
      knownByStream = next;
    },
    clear({ origin, from, to, entries }) {
      const leaving: StoredEntry[] = [];
      const policies: Record<string, EgressPolicy> = {};
      for (const entry of entries) {
        const known = knownByStream.get(entry.stream);
        if (!known) {
          counts.held++;
          continue;
        }
        const body = known.clearing.body(entry.body);
        if (!body) counts.unreadable++;
        policies[entry.stream] = known.policy;
        leaving.push(body === entry.body ? entry : { ...entry, body: body ?? noFields });
      }
      counts.cleared += leaving.length;
      const bytes = deps.encode({ origin, from, to, entries: leaving, policies });
      return { origin, from, to, entries: leaving.length, bytes: bytes as Cleared<Uint8Array> };
    },
    get counts() {
      return { ...counts };
    },
  };
}

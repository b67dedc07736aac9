/**
 * The one way out of the cell (rule P). Only this file makes a `Cleared` value, and the hub link takes
 * nothing else. Entries of streams without a policy do not leave; of all others the fields that the
 * policy names. What is not JSON has no fields, and leaves as `{}`.
 */
import type { EgressPolicy, EntryColumns } from "../../api/index.ts";
import { pick, withBodies } from "../../api/records/index.ts";
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
  readonly columns: EntryColumns;
};
/** With the policies that it was cleared by, for the hub to check again. */
export type GatedBatch = GateBatch & { readonly policies: Readonly<Record<string, EgressPolicy>> };

export type ClearedBatch = Omit<GateBatch, "columns"> & {
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

type Known = { readonly policy: EgressPolicy; readonly clearing: Clearing };

export function createGate(deps: { encode: (batch: GatedBatch) => Uint8Array; log: Log }): Gate {
  let knownByStream = new Map<string, Known>();
  const counts = { cleared: 0, held: 0, unreadable: 0 };

  /** What of it is of streams that leave at all. */
  const leaving = (columns: EntryColumns): EntryColumns => {
    const known = columns.streams.map((stream) => knownByStream.has(stream));
    if (known.every(Boolean)) return columns;
    const indexes = [...columns.stream.keys()].filter(
      (index) => known[columns.stream[index] ?? -1],
    );
    counts.held += columns.stream.length - indexes.length;
    return pick(columns, indexes);
  };

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
    clear({ origin, from, to, columns: all }) {
      const columns = leaving(all);
      const { stream: streamOf, end: ends, bodies } = columns;
      const known = columns.streams.map((stream) => knownByStream.get(stream) as Known);
      const changed: { index: number; body: Uint8Array }[] = [];
      let start = 0;
      for (let index = 0; index < streamOf.length; index++) {
        const end = ends[index] as number;
        const { clearing } = known[streamOf[index] as number] as Known;
        if (!clearing.passes(bodies, start, end)) {
          const body = clearing.rewritten(bodies.subarray(start, end));
          if (!body) counts.unreadable++;
          changed.push({ index, body: body ?? noFields });
        }
        start = end;
      }
      counts.cleared += streamOf.length;
      const policies = Object.fromEntries(
        columns.streams.map((stream, at) => [stream, (known[at] as Known).policy]),
      );
      const leaves = { origin, from, to, columns: withBodies(columns, changed), policies };
      const bytes = deps.encode(leaves) as Cleared<Uint8Array>;
      return { origin, from, to, entries: streamOf.length, bytes };
    },
    get counts() {
      return { ...counts };
    },
  };
}

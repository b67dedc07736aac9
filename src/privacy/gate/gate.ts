/**
 * The one way out of the cell (rule P). Only this file makes a `Cleared` value, and the hub link takes
 * nothing else. Entries of streams without a policy do not leave; of all others the fields that the
 * policy names. What is not JSON has no fields, and leaves as `{}`.
 */
import type { EgressPolicy, EntryColumns, StoredEntry } from "../../api/index.ts";
import { entriesOf } from "../../api/records/index.ts";
import type { Log } from "../../lib/log.ts";
import { createClearing, noFields, type Clearing } from "./clearing.ts";

declare const cleared: unique symbol;
/** What the gate let through. */
export type Cleared<T> = T & { readonly [cleared]: true };

type Piece = { readonly origin: string; readonly from: number; readonly to: number };
/** A piece of one origin's log, as `data` reads it: by entry, or in columns. */
export type GateBatch = Piece &
  ({ readonly entries: readonly StoredEntry[] } | { readonly columns: EntryColumns });
/** With the policies that it was cleared by, for the hub to check again. */
export type GatedBatch = GateBatch & { readonly policies: Readonly<Record<string, EgressPolicy>> };
type ColumnsGated = Extract<GatedBatch, { readonly columns: EntryColumns }>;

export type ClearedBatch = Piece & {
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

  /** Undefined: some of it stays. */
  const clearColumns = (columns: EntryColumns): Omit<ColumnsGated, keyof Piece> | undefined => {
    const { streams, stream, end: ends, bodies } = columns;
    const policies: Record<string, EgressPolicy> = {};
    const clearings: Clearing[] = [];
    for (const name of streams) {
      const known = knownByStream.get(name);
      if (!known) return undefined;
      policies[name] = known.policy;
      clearings.push(known.clearing);
    }
    const changed: Changed[] = [];
    let start = 0;
    for (let index = 0; index < stream.length; index++) {
      const end = ends[index] as number;
      const clearing = clearings[stream[index] as number] as Clearing;
      if (!clearing.passes(bodies, start, end)) {
        const body = clearing.rewritten(bodies.subarray(start, end));
        if (!body) counts.unreadable++;
        changed.push({ index, body: body ?? noFields });
      }
      start = end;
    }
    return { columns: withBodies(columns, changed), policies };
  };
  const cleared = (batch: GatedBatch, entries: number): ClearedBatch => {
    const { origin, from, to } = batch;
    counts.cleared += entries;
    return { origin, from, to, entries, bytes: deps.encode(batch) as Cleared<Uint8Array> };
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
    clear(batch) {
      const { origin, from, to } = batch;
      if ("columns" in batch) {
        const whole = clearColumns(batch.columns);
        if (whole) return cleared({ origin, from, to, ...whole }, batch.columns.stream.length);
      }
      const entries = "columns" in batch ? entriesOf(origin, batch.columns) : batch.entries;
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
      return cleared({ origin, from, to, entries: leaving, policies }, leaving.length);
    },
    get counts() {
      return { ...counts };
    },
  };
}

/** The body that leaves in place of one that may not as it is. */
type Changed = { readonly index: number; readonly body: Uint8Array };

function withBodies(columns: EntryColumns, changed: readonly Changed[]): EntryColumns {
  if (changed.length === 0) return columns;
  const { end: ends, bodies } = columns;
  const parts: Uint8Array[] = [];
  const end = [...ends];
  let [kept, grown, next] = [0, 0, 0];
  for (let index = 0; index < ends.length; index++) {
    const one = changed[next];
    if (one?.index === index) {
      const start = ends[index - 1] ?? 0;
      parts.push(bodies.subarray(kept, start), one.body);
      kept = ends[index] as number;
      grown += one.body.length - (kept - start);
      next++;
    }
    end[index] = (ends[index] as number) + grown;
  }
  parts.push(bodies.subarray(kept));
  return { ...columns, end, bodies: Buffer.concat(parts) };
}

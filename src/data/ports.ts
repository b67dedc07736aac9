/** What this pillar needs of others; bound by the roots (`agent/paths/sync-path.ts`, `hub/paths/`). */
import type { EgressPolicy } from "../api/index.ts";
import type { LogBatch, Vector } from "./streams/store.ts";

/** A piece of a log after the gate. `C` is the type that only the gate can make. */
export type ClearedLog<C> = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  /** Entries that leave; positions of all others are counted as seen. */
  readonly entries: number;
  readonly bytes: C;
};

/** privacy/gate: the one way out of the cell. Runs in the storage thread. */
export interface Gate<C> {
  /** By stream; nothing leaves of a stream that is not named. */
  setPolicies(policies: Readonly<Record<string, EgressPolicy>>): void;
  clear(batch: LogBatch): ClearedLog<C>;
}

/** The hub at the other end of a link: takes only what passed the gate. */
export interface Hub<C> {
  /** The durable vector of the origins in the batch, after the hub committed it. */
  push(bytes: C, options: { signal: AbortSignal }): Promise<Vector>;
  /** All that the hub has of this cell. */
  vector(options: { signal: AbortSignal }): Promise<Vector>;
}

/** Asked on the main thread, answered in the storage thread. */
export interface Egress<C> {
  /** Undefined: this store has nothing of that origin from there on. */
  clear(query: {
    origin: string;
    from: number;
    bytesMax?: number;
  }): Promise<ClearedLog<C> | undefined>;
}

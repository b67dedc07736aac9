/** What replication asks of a store: logs by origin and position, and vectors that tell how far. */
import type { SnapshotPlace, SnapshotTaken, SnapshotWish } from "../documents/snapshots.ts";
import type { Observed, Proof } from "../streams/put-back.ts";
import type { ApplyAnswer, EncodedBatch, LogQuery, Vector } from "../streams/store.ts";

export type { Vector } from "../streams/store.ts";
export type { Observed, Proof } from "../streams/put-back.ts";

export interface ReplicatedStore {
  log(query: LogQuery): Promise<EncodedBatch | undefined>;
  /** With `vector`, who pushed learns of other logs at once, not only in the next comparison. */
  apply(bytes: Uint8Array): Promise<ApplyAnswer & { readonly vector?: Vector }>;
  vector(): Promise<Vector>;
  /** Of what another store told: see there. */
  observe(vector: Vector, proof?: Proof): Promise<Observed>;
  on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
  /** Of one whose log is forgotten from its beginning. */
  readonly snapshots?: ReplicatedSnapshots;
}

/** For who lies behind what the log still has. */
export interface ReplicatedSnapshots {
  /** The next piece for a store; undefined: the log here has all that it lacks. */
  give(
    query: SnapshotWish & { readonly after?: SnapshotPlace | undefined },
  ): Promise<Uint8Array | undefined>;
  /** Throws `invalid-batch`. */
  take(bytes: Uint8Array): Promise<SnapshotTaken>;
  /**
   * How far one came. `isNeeded`: documents are lacking here, whatever logs others have. `floors`: by
   * origin, up to where the log is forgotten here.
   */
  place(): Promise<{
    readonly at?: SnapshotPlace;
    readonly isNeeded: boolean;
    readonly floors: Vector;
  }>;
}

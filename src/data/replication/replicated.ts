/** What replication asks of a store: logs by origin and position, and vectors that tell how far. */
import type { ApplyAnswer, EncodedBatch, LogQuery, Vector } from "../streams/store.ts";

export type { Vector } from "../streams/store.ts";

export interface ReplicatedStore {
  log(query: LogQuery): Promise<EncodedBatch | undefined>;
  /** With `vector`, who pushed learns of other logs at once, not only in the next comparison. */
  apply(bytes: Uint8Array): Promise<ApplyAnswer & { readonly vector?: Vector }>;
  vector(): Promise<Vector>;
  observe(vector: Vector): Promise<{ readonly origin: string; readonly rotated: boolean }>;
  on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
}

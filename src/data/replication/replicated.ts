/** What replication asks of a store: logs by origin and position, and vectors that tell how far. */
import type { ApplyAnswer, EncodedBatch, LogQuery, Vector } from "../streams/store.ts";

export type { Vector } from "../streams/store.ts";

export interface ReplicatedStore {
  log(query: LogQuery): Promise<EncodedBatch | undefined>;
  apply(bytes: Uint8Array): Promise<ApplyAnswer>;
  vector(): Promise<Vector>;
  observe(vector: Vector): Promise<{ readonly origin: string; readonly rotated: boolean }>;
  on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
}

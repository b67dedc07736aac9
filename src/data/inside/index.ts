/**
 * What simulations take apart: the engine of documents without its SQLite, and what a power cut leaves
 * of a store. For `drill/simulated` alone; everybody else has the room's door.
 */
export { show } from "../documents/body.ts";
export { decodeOperations, encodeOperations } from "../documents/codec.ts";
export { createAges, type AgeMark, type AgeTables } from "../documents/ages.ts";
export { createExpiry } from "../documents/expiry.ts";
export type { Expired, ExpireQuery } from "../documents/store.ts";
export { createEngine, type Engine } from "../documents/engine.ts";
export { createFeeds, type Feeds } from "../global/feeds.ts";
export type { Feed, FeedTables } from "../global/feed-book.ts";
export type { PublishedFilter } from "../global/filter.ts";
export {
  createPublished,
  hubOriginPrefix,
  type Published,
  type PublishedFeed,
  type PublishedTables,
} from "../global/published.ts";
export { decodeLeaving, decodeLeavingSnapshot, shapeOf } from "../documents/leaving.ts";
export { createHybridClock } from "../documents/hybrid-clock.ts";
export { objectOf, type Json, type JsonObject } from "../documents/json.ts";
export { readOperation, type Change, type Dot } from "../documents/operation.ts";
export { decodeSnapshot, encodeSnapshot } from "../documents/snapshot.ts";
export { isSnapshotFor, readSnapshot, snapshotAt, takeSnapshot } from "../documents/snapshots.ts";
export { joinTexts, plainText, textState, type TextState } from "../documents/text.ts";
export type { TruncateLimits, Truncated } from "../documents/truncate.ts";
export type {
  DocumentRow,
  DocumentTables,
  LoggedOperation,
  OriginRow,
  StagedRow,
} from "../documents/tables.ts";
export { writeDocuments, type Written } from "../documents/writing.ts";
export type { ReplicatedSnapshots, ReplicatedStore } from "../replication/replicated.ts";
export { inodeOf, markerPath, readMarker, writeMarker } from "../streams/identity.ts";

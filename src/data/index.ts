export type {
  AppendAnswer,
  ApplyAnswer,
  EncodedBatch,
  Grown,
  LocalStreamStore,
  LogBatch,
  LogQuery,
  ReadEntry,
  ReadPage,
  ReadQuery,
  StoreStatus,
  StreamDeclaration,
  StreamStatus,
  StreamStore,
  Vector,
} from "./streams/store.ts";
export { openStreamStore, type StreamStoreOptions } from "./streams/sqlite-store.ts";
export {
  connectStreamStore,
  serveStreamStore,
  type ConnectOptions,
  type StreamEvents,
  type StreamMethods,
} from "./streams/thread.ts";
export {
  bodyBytesMax,
  entriesPerRequestMax,
  producerBytesMax,
  requestBytesMax,
} from "./streams/check.ts";
export { decodeBatch, encodeBatch } from "./batch/codec.ts";
export type { ClearedLog, Egress, Gate, Hub } from "./ports.ts";

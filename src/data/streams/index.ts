/** The store alone, for the thread that holds it: no HTTP, no schemas. */
export { encodeBatch } from "../batch/codec.ts";
export { openStreamStore, type StreamStoreOptions } from "./sqlite-store.ts";
export {
  serveStreamStore,
  type StreamEmit,
  type StreamEvents,
  type StreamMethods,
} from "./thread.ts";

/** The store alone, for the thread that holds it: no HTTP, no schemas. */
export { encodeLeaving, encodeLeavingSnapshot } from "./leaving.ts";
export { openDocumentStore, type DocumentStoreOptions } from "./sqlite-store.ts";
export { serveDocumentStore, type DocumentEvents, type DocumentMethods } from "./thread.ts";

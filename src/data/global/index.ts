/** The hub's store alone, for the thread that holds it: no HTTP, no schemas. */
export { openGlobalStore, type GlobalStoreOptions } from "./sqlite/store.ts";
export { serveGlobalStore, type GlobalEvents, type GlobalMethods } from "./thread.ts";

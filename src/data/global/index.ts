/** The hub's store alone, for the thread that holds it: no HTTP, no schemas. */
export { openPostgresStore, type PostgresStoreOptions } from "./postgres/store.ts";
export { openGlobalStore, type GlobalStoreOptions } from "./sqlite/store.ts";
export { serveGlobalStore, type GlobalEvents, type GlobalMethods } from "./thread.ts";

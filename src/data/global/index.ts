/** The hub's store alone, for the thread that holds it: no HTTP, no schemas. */
export { openPostgresDocuments, type PostgresDocumentsOptions } from "./postgres/documents.ts";
export { createPostgresReaders } from "./postgres/readers.ts";
export { openPostgresStore, type PostgresStoreOptions } from "./postgres/store.ts";
export { openGlobalStore, type GlobalStoreOptions } from "./sqlite/store.ts";
export { openGlobalDocuments, type GlobalDocumentsOptions } from "./sqlite/documents.ts";
export {
  serveGlobalDocuments,
  type GlobalDocumentEvents,
  type GlobalDocumentMethods,
} from "./documents-thread.ts";
export { serveGlobalStore, type GlobalEvents, type GlobalMethods } from "./thread.ts";

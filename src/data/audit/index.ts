/** What the threads that read for an audit are made of: without what the main thread needs besides. */
export { createAuditEngine, type AuditFiles, type Narrowing } from "./engine.ts";
export { createDocumentsReads } from "./documents-reads.ts";
export { serveAuditEngine } from "./thread.ts";

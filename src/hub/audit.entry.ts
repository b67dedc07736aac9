/** The audit's thread of a hub: reads its stores for cells that compare theirs with it. */
import {
  createAuditEngine,
  createDocumentsReads,
  serveAuditEngine,
  type AuditFiles,
} from "../data/audit/index.ts";
import { createPostgresReaders } from "../data/global/index.ts";
import { systemClock } from "../runtime/clock/index.ts";
import { serveThread, threadData } from "../runtime/thread/index.ts";

const deps = { clock: systemClock };
const { postgres, ...files } = threadData<AuditFiles>();
const documents =
  postgres &&
  createPostgresReaders(deps, {
    address: postgres,
    application: "skerry-hub-audit",
    reading: (db) => createDocumentsReads(db, undefined, { isHub: true }),
  });
serveThread(
  serveAuditEngine(createAuditEngine({ ...deps, ...(documents ? { documents } : {}) }, files)),
);

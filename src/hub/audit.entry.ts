/** The audit's thread of a hub: reads its stores for cells that compare theirs with it. */
import { createAuditEngine, serveAuditEngine, type AuditFiles } from "../data/audit/index.ts";
import { systemClock } from "../runtime/clock/index.ts";
import { serveThread, threadData } from "../runtime/thread/index.ts";

serveThread(serveAuditEngine(createAuditEngine({ clock: systemClock }, threadData<AuditFiles>())));

/** The audit's thread of a node: reads its stores, and holds them against the hub's as the gate lets them out. */
import { createAuditEngine, serveAuditEngine, type AuditFiles } from "../data/audit/index.ts";
import { createNarrowing } from "../privacy/gate/index.ts";
import { systemClock } from "../runtime/clock/index.ts";
import { serveThread, threadData } from "../runtime/thread/index.ts";

const deps = { clock: systemClock, narrowing: createNarrowing() };

serveThread(serveAuditEngine(createAuditEngine(deps, threadData<AuditFiles>())));

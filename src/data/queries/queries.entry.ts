/** The queries' thread: read-only connections, and nothing that writes. */
import { systemClock } from "../../runtime/clock/index.ts";
import { serveThread, threadData } from "../../runtime/thread/index.ts";
import { createQueryEngine } from "./engine.ts";
import type { QueriesData, QueryMethods } from "./thread.ts";

const { documentsPath } = threadData<QueriesData>();
const engine = createQueryEngine({ clock: systemClock }, { path: documentsPath });

serveThread({
  "queries.documents": (request) => engine.documents(request),
} satisfies QueryMethods);

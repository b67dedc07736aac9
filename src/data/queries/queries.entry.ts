/** The queries' thread, of a node or a hub: read-only connections, and nothing that writes. */
import { systemClock } from "../../runtime/clock/index.ts";
import { serveThread, threadData } from "../../runtime/thread/index.ts";
import type { GlobalQueryFiles } from "../global/queries.ts";
import { createQueryEngine, type QueryFiles } from "./engine.ts";
import type { GlobalQueryMethods, QueryMethods } from "./thread.ts";

const files = threadData<QueryFiles | GlobalQueryFiles>();

if ("global" in files) {
  const { openGlobalQueries } = await import("../global/queries.ts");
  const engine = openGlobalQueries({ clock: systemClock }, files);
  serveThread({
    "queries.globalDocuments": (request) => engine.documents(request),
    "queries.globalEntries": (request) => engine.entries(request),
  } satisfies GlobalQueryMethods);
} else {
  const engine = createQueryEngine({ clock: systemClock }, files);
  serveThread({
    "queries.documents": (request) => engine.documents(request),
    "queries.entries": (request) => engine.entries(request),
    "queries.open": (request) => engine.live.open(request),
    "queries.look": (lives) => engine.live.look(lives),
    "queries.close": (live) => engine.live.close(live),
  } satisfies QueryMethods);
}

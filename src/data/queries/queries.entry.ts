/** The queries' thread: read-only connections, and nothing that writes. */
import { systemClock } from "../../runtime/clock/index.ts";
import { serveThread, threadData } from "../../runtime/thread/index.ts";
import { createQueryEngine, type QueryFiles } from "./engine.ts";
import type { QueryMethods } from "./thread.ts";

const engine = createQueryEngine({ clock: systemClock }, threadData<QueryFiles>());

serveThread({
  "queries.documents": (request) => engine.documents(request),
  "queries.entries": (request) => engine.entries(request),
  "queries.open": (request) => engine.live.open(request),
  "queries.look": (lives) => engine.live.look(lives),
  "queries.close": (live) => engine.live.close(live),
} satisfies QueryMethods);

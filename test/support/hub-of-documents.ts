/** The documents of a hub as it starts them: the storage thread, the way of documents, the routes over HTTP. */
import { mkdirSync } from "node:fs";
import { createDocuments } from "../../src/client/index.ts";
import type {
  GlobalDocumentEvents,
  GlobalDocumentMethods,
  GlobalMethods,
} from "../../src/data/index.ts";
import { startDocumentsPath } from "../../src/hub/paths/documents-path.ts";
import { startQueriesPath } from "../../src/hub/paths/queries-path.ts";
import type { HubStorageData } from "../../src/hub/storage.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createLifecycle } from "../../src/runtime/lifecycle/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import type { Router } from "../../src/transport/index.ts";

export async function startHubOfDocuments(dataDir: string, router: Pick<Router, "handle">) {
  mkdirSync(dataDir, { recursive: true });
  const lifecycle = createLifecycle({ clock: systemClock, log: silentLog });
  const thread = await lifecycle.start(
    "storage",
    () =>
      startThread<GlobalMethods & GlobalDocumentMethods, GlobalDocumentEvents>(
        new URL("../../src/hub/storage.entry.ts", import.meta.url),
        { name: "storage", data: { dataDir, logLevel: "error" } satisfies HubStorageData },
      ),
    (part) => part.terminate(),
  );
  const cellOf = ({ path }: { path: readonly string[] }) => (path[0] === "node" ? "a" : undefined);
  const ground = { lifecycle, clock: systemClock, dataDir };
  const path = await startDocumentsPath(ground, { router, thread, cellOf });
  const queries = await startQueriesPath(ground, { postgres: undefined });
  const app = createHttpApp();
  path.routes(app);
  queries(app);
  const url = await lifecycle.start(
    "http",
    () => app.listen({ host: "127.0.0.1", port: 0 }),
    () => app.close(),
  );
  return { lifecycle, thread, url, client: createDocuments({ url }) };
}

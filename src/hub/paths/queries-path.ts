/** The way of queries at the hub: HTTP → [a thread of their own] read-only, over what cells sent and what is written here. */
import { join } from "node:path";
import { createGlobalQueries, createGlobalQueryRoutes } from "../../data/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { PostgresAddress } from "../../runtime/postgres/index.ts";
import type { HubGround } from "../ground.ts";
import { hubDatabasePath } from "../storage.ts";

export async function startQueriesPath(
  { lifecycle, clock, dataDir }: Pick<HubGround, "lifecycle" | "clock" | "dataDir">,
  { postgres }: { postgres: PostgresAddress | undefined },
): Promise<Routes> {
  const global = postgres
    ? { address: postgres }
    : { documentsPath: join(dataDir, "documents.db"), streamsPath: hubDatabasePath(dataDir) };
  const queries = await lifecycle.start(
    "queries",
    () => createGlobalQueries({ clock }, { global }),
    (part) => part.stop(),
  );
  return createGlobalQueryRoutes(queries);
}

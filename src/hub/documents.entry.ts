/** The thread of the hub's documents in PostgreSQL, which waits for the database: streams do not. */
import {
  openPostgresDocuments,
  serveGlobalDocuments,
  type GlobalDocumentEvents,
} from "../data/global/index.ts";
import { createOperationRecheck } from "../privacy/gate/index.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import type { PostgresAddress } from "../runtime/postgres/index.ts";
import { serveThread, threadData, type ThreadHost } from "../runtime/thread/index.ts";
import type { HubStorageData } from "./storage.ts";

const { logLevel, logPath, postgres } = threadData<
  HubStorageData & { readonly postgres: PostgresAddress }
>();
const log = createLog({
  level: logLevel,
  ...(logPath === undefined ? {} : { path: logPath }),
  fields: { thread: "documents" },
});
const deps = { clock: systemClock, random: systemRandom, log, recheck: createOperationRecheck() };
const store = await openPostgresDocuments(deps, { address: postgres });
const host: ThreadHost<GlobalDocumentEvents> = serveThread<GlobalDocumentEvents>({
  ...serveGlobalDocuments(store, (name, event) => host.emit(name, event)),
});

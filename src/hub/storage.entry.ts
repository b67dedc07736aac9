/** The hub's storage thread: the global store, the fleet's ledger, and the gate's second look at what cells send. */
import { join } from "node:path";
import {
  openGlobalDocuments,
  openGlobalStore,
  openPostgresStore,
  serveGlobalDocuments,
  serveGlobalStore,
  type GlobalDocumentEvents,
  type GlobalEvents,
} from "../data/global/index.ts";
import { createOperationRecheck, createRecheck } from "../privacy/gate/index.ts";
import { serveLedger, type LedgerEmit, type LedgerThreadEvents } from "../ledger/thread/index.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { serveThread, threadData, type ThreadHost } from "../runtime/thread/index.ts";
import { openFleetLedger } from "./fleet-ledger.ts";
import { hubDatabasePath, type HubStorageData } from "./storage.ts";

type Events = GlobalEvents & GlobalDocumentEvents & LedgerThreadEvents;
const { dataDir, logLevel, logPath, postgres, retentionAgeMs } = threadData<HubStorageData>();
const log = createLog({
  level: logLevel,
  ...(logPath === undefined ? {} : { path: logPath }),
  fields: { thread: "storage" },
});
const deps = { clock: systemClock, random: systemRandom, log, recheck: createRecheck() };
const store = postgres
  ? await openPostgresStore(deps, { address: postgres, retentionAgeMs })
  : openGlobalStore(deps, { path: hubDatabasePath(dataDir), retentionAgeMs });
/** Those in PostgreSQL have a thread of their own. */
const documents = postgres
  ? {}
  : serveGlobalDocuments(
      openGlobalDocuments(
        { ...deps, recheck: createOperationRecheck() },
        { path: join(dataDir, "documents.db") },
      ),
      (name, event) => host.emit(name, event),
    );
/** Events of the ledger are events of this thread. */
const emit: LedgerEmit = (name, event) =>
  (host as ThreadHost<LedgerThreadEvents>).emit(name, event);
const fleet = postgres ? {} : serveLedger(openFleetLedger(deps, dataDir), emit);
const host: ThreadHost<Events> = serveThread<Events>({
  ...serveGlobalStore(store, (name, event) => host.emit(name, event)),
  ...documents,
  ...fleet,
});

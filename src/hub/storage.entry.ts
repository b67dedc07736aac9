/** The hub's storage thread: the global store, and the gate's second look at what cells send. */
import {
  openGlobalStore,
  openPostgresStore,
  serveGlobalStore,
  type GlobalEvents,
} from "../data/global/index.ts";
import { createRecheck } from "../privacy/gate/index.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { serveThread, threadData, type ThreadHost } from "../runtime/thread/index.ts";
import { hubDatabasePath, type HubStorageData } from "./storage.ts";

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
const host: ThreadHost<GlobalEvents> = serveThread<GlobalEvents>(
  serveGlobalStore(store, (name, event) => host.emit(name, event)),
);

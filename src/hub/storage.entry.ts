/** The hub's storage thread: the global store, and the gate's second look at what cells send. */
import { join } from "node:path";
import { openGlobalStore, serveGlobalStore, type GlobalEvents } from "../data/global/index.ts";
import { createRecheck } from "../privacy/gate/index.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { serveThread, threadData, type ThreadHost } from "../runtime/thread/index.ts";
import type { HubStorageData } from "./storage.ts";

const { dataDir, logLevel, logPath } = threadData<HubStorageData>();
const log = createLog({
  level: logLevel,
  ...(logPath === undefined ? {} : { path: logPath }),
  fields: { thread: "storage" },
});
const store = openGlobalStore(
  { clock: systemClock, random: systemRandom, log, recheck: createRecheck() },
  { path: join(dataDir, "hub.db") },
);
const host: ThreadHost<GlobalEvents> = serveThread<GlobalEvents>(
  serveGlobalStore(store, (name, event) => host.emit(name, event)),
);

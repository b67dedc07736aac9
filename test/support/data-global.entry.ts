/** A hub's storage thread with nothing but the global store. */
import { openGlobalStore, serveGlobalStore, type GlobalEvents } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData } from "../../src/runtime/thread/index.ts";

const { path } = threadData<{ path: string }>();
const deps = { clock: systemClock, random: systemRandom, log: silentLog, recheck: createRecheck() };
const methods = serveGlobalStore(openGlobalStore(deps, { path }), (name, event) =>
  host.emit(name, event),
);
const host = serveThread<GlobalEvents>(methods);

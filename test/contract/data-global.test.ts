/** The hub's store on SQLite, in place and behind its thread. */
import { join } from "node:path";
import {
  connectGlobalStore,
  openGlobalStore,
  type GlobalEvents,
  type GlobalMethods,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { globalStoreSuite, type OpenGlobalStore } from "./data-global.ts";

const openHere: OpenGlobalStore = async (folder) => {
  const deps = {
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    recheck: createRecheck(),
  };
  const store = openGlobalStore(deps, { path: join(folder, "hub.db") });
  return { store, stop: () => store.close(), files: filesIn(folder) };
};
const filesIn = (folder: string) => ({ documentsPath: "", streamsPath: join(folder, "hub.db") });
const openInThread: OpenGlobalStore = async (folder) => {
  const thread = await startThread<GlobalMethods, GlobalEvents>(
    new URL("../support/data-global.entry.ts", import.meta.url),
    { name: "storage", data: { path: join(folder, "hub.db") } },
  );
  const store = connectGlobalStore(thread);
  return {
    store,
    async stop() {
      await store.close();
      await thread.terminate();
    },
    files: filesIn(folder),
  };
};

globalStoreSuite("on SQLite", openHere);
globalStoreSuite("on SQLite behind a thread", openInThread);

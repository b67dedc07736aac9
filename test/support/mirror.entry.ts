/** A storage thread with nothing but a mirror's store. */
import { silentLog } from "../../src/lib/log.ts";
import { openMirrorStore, serveMirrorStore } from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData } from "../../src/runtime/thread/index.ts";

const { path } = threadData<{ path: string }>();
const store = openMirrorStore({ clock: systemClock, log: silentLog }, { path });
serveThread({ ...serveMirrorStore(store) });

/** A storage thread with nothing but a stream store. */
import { encodeBatch, openStreamStore, serveStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData } from "../../src/runtime/thread/index.ts";
import { testGate } from "./data.ts";

const { path, node } = threadData<{ path: string; node: string }>();
const store = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  { path, node },
);
const methods = serveStreamStore({ store, gate: testGate(encodeBatch) }, (name, event) =>
  host.emit(name, event),
);
const host = serveThread<{ "data.grown": unknown }>(methods);

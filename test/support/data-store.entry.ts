/** A storage thread with nothing but a stream store. */
import {
  encodeBatch,
  openStreamStore,
  serveStreamStore,
  type StreamEmit,
  type StreamEvents,
  type StreamMethods,
} from "../../src/data/streams/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { serveThread, threadData } from "../../src/runtime/thread/index.ts";
import { testGate } from "./data.ts";

const { path, node } = threadData<{ path: string; node: string }>();
const store = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  { path, node },
);
const emit: StreamEmit = (name, event) => host.emit(name, event);
const methods: StreamMethods = serveStreamStore({ store, gate: testGate(encodeBatch) }, emit);
const host = serveThread<StreamEvents>(methods);

/** The MQTT broker with its state on disk, in a process of its own that a test may kill. */
import { createDeadLetters, createMqttIngest } from "../../src/ingest/index.ts";
import { openMqttState } from "../../src/ingest/mqtt-state/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore } from "./ingest.ts";

const [path = "", port = "0"] = process.argv.slice(2);
const ingest = await createMqttIngest({
  append: createTestStore().append,
  streams: () => [],
  deadLetters: createDeadLetters({ clock }),
  authenticate: async () => ({ id: "spiffe://c.skerry/app/test" }),
  state: openMqttState({ log: silentLog }, { path }),
  log: silentLog,
  metrics: createMetrics(),
  clock,
});
const listener = await ingest.listen({ host: "127.0.0.1", port: Number(port) });
process.on("disconnect", () => process.exit(0));
process.send?.(listener.port);

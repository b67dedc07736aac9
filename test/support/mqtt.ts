/** The MQTT ingest in front of a store in memory, and proper clients of it. */
import type { TestContext } from "node:test";
import { connectAsync, type MqttClient } from "mqtt";
import {
  createDeadLetters,
  createMqttIngest,
  type MqttDependencies,
  type MqttOptions,
} from "../../src/ingest/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore } from "./ingest.ts";

/** On a free port, until the test ends. */
export async function startMqtt(
  t: TestContext,
  deps: Pick<MqttDependencies, "streams" | "authenticate"> & Partial<MqttDependencies>,
  options: MqttOptions = {},
) {
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock: systemClock });
  const metrics = createMetrics();
  const ingest = await createMqttIngest(
    { append: store.append, deadLetters, clock: systemClock, log: silentLog, metrics, ...deps },
    options,
  );
  const { port } = await ingest.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => ingest.stop());
  const connect = async (more = {}): Promise<MqttClient> => {
    const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...more });
    t.after(() => client.endAsync(true));
    client.on("error", () => {});
    return client;
  };
  return { store, deadLetters, metrics, ingest, port, connect };
}

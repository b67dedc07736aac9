/** A gateway and an MQTT listener in a process of their own, which says what it holds when asked. */
import { createGateway } from "../../src/gateway/index.ts";
import {
  createBatcher,
  createDeadLetters,
  createMqttIngest,
  httpIngestRoutes,
} from "../../src/ingest/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore } from "./ingest.ts";

export type HostileServerReady = { readonly gateway: number; readonly mqtt: number };
export type HostileServerAnswer = { readonly metrics: string; readonly rssBytes: number };

/** On a slow machine it takes a while until all are open. */
const patient = { headersTimeoutMs: 300_000, requestTimeoutMs: 300_000, stallTimeoutMs: 300_000 };
const connectionsMax = Number(process.argv[2]);
const { append } = createTestStore();
const metrics = createMetrics();
const streams = () => [{ name: "s", durability: { level: "local" }, mqttTopics: [] }] as const;
const deadLetters = createDeadLetters({ clock });
const intake = createBatcher({ append, clock, metrics });
const shared = { append, intake, streams, deadLetters, clock, log: silentLog, metrics };
const subject = { id: "spiffe://c.skerry/app/test" };
const gateway = await createGateway(
  { ...shared, authenticate: async () => subject, routes: [httpIngestRoutes(shared)] },
  {
    host: "127.0.0.1",
    port: 0,
    limits: { connectionsMax, ...patient },
  },
);
const mqtt = await createMqttIngest(
  { ...shared, authenticate: async () => subject },
  { connectionsMax },
);
const { port } = await mqtt.listen({ host: "127.0.0.1", port: 0 });

process.on("message", (message) => {
  if (message === "garbage") globalThis.gc?.();
  void metrics.render().then((text) => {
    process.send?.({
      metrics: text,
      rssBytes: process.memoryUsage.rss(),
    } satisfies HostileServerAnswer);
  });
});
process.on("disconnect", () => process.exit(0));
process.send?.({ gateway: gateway.port, mqtt: port } satisfies HostileServerReady);

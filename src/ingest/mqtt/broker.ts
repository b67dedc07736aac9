/**
 * The MQTT broker, put together: 3.1.1 and 5 (OASIS, mqtt-v3.1.1-os and mqtt-v5.0-os). Sockets
 * (`sockets.ts`) become clients (`client.ts`), whose messages go into the store (`publish.ts`) and to
 * subscribers (`router.ts`). A message of a stream that was refused is never acknowledged: MQTT 5 says
 * why in the PUBACK; MQTT 3.1.1 has no way to say no but to close the connection (section 3.3.5), and
 * the client sends again when it is back.
 */
import { deadline } from "../../lib/clock.ts";
import { createConnectionGate } from "../../runtime/connections/index.ts";
import { createBatcher } from "../batcher.ts";
import { createTopicMapping } from "../mapping.ts";
import type { SessionKey } from "../mqtt-state/index.ts";
import { createClient } from "./client.ts";
import { createCodec } from "./codec.ts";
import type { PartialBudget } from "./connection.ts";
import type { Ending } from "./ending.ts";
import { createHandshake } from "./handshake.ts";
import { createJournal, restoredMessage, type Journal } from "./journal.ts";
import { createEncoder, type Message } from "./message.ts";
import type { MqttDependencies, MqttIngest, MqttOptions } from "./mqtt.ts";
import { createPublishing } from "./publish.ts";
import { createRetained } from "./retained.ts";
import { createRouter } from "./router.ts";
import { createSession, type Session, type SessionJournal } from "./session.ts";
import { createSessions } from "./sessions.ts";
import { createSockets } from "./sockets.ts";
import { createSubscribing } from "./subscribing.ts";
import { createSubscriptions } from "./subscriptions.ts";
import { createUnderWay } from "./under-way.ts";
import { createWills, type Client as WillClient } from "./wills.ts";

const stopTimeoutMs = 5_000;
const noBytes = Buffer.alloc(0);

export async function createMqttIngest(
  deps: MqttDependencies,
  options: MqttOptions = {},
): Promise<MqttIngest> {
  const { clock, log } = deps;
  const messages = deps.metrics.counter(
    "skerry_ingest_mqtt_messages_total",
    "Messages published over MQTT by what became of them.",
    ["outcome"],
  );
  const refusals = deps.metrics.counter(
    "skerry_ingest_mqtt_refusals_total",
    "MQTT connections refused or closed, and subscriptions and retained messages not taken, by reason.",
    ["reason"],
  );
  const publishing = createPublishing({
    batcher: deps.intake ?? createBatcher(deps, { timeoutMs: options.appendTimeoutMs }),
    deadLetters: deps.deadLetters,
    clock,
    match: createTopicMapping(deps.streams),
    authorize: deps.authorize,
  });
  const retained = createRetained();
  const partial: PartialBudget = { bytes: 0 };
  const waiting = { bytes: 0 };
  const gate = createConnectionGate({
    connectionsMax: options.connectionsMax ?? 1024,
    onRefused: (reason) =>
      refusals.inc({ reason: reason === "too-many" ? "too-many-connections" : reason }),
  });
  const subscriptions = createSubscriptions<Session>();
  const subscribing = createSubscribing({
    subscriptions,
    retained,
    onRefused: () => refusals.inc({ reason: "subscription-refused" }),
  });
  const saved = await deps.state?.load();
  const keys = saved ? [...saved.sessions, ...saved.wills].map(({ key }) => key) : [];
  const lastKey = Math.max(0, ...keys);
  const journal = deps.state && createJournal({ store: deps.state, clock, log }, lastKey + 1);
  const { route } = createRouter({
    subscriptions,
    retained,
    saveRetained: journal?.retained,
    onRetainedFull: () => refusals.inc({ reason: "retained-full" }),
  });
  const underWay = createUnderWay();

  const publishWill = async (message: Message, { id, owner }: WillClient) => {
    const verdict = await publishing({
      ...message,
      clientId: id,
      connection: undefined,
      subject: { id: owner },
      userProperties: message.properties?.userProperties,
      isWill: true,
    });
    messages.inc({ outcome: verdict.state });
    if (verdict.state !== "refused" || message.qos === 0) await route(message).durable;
  };
  const wills = createWills({
    ...{ clock, journal },
    async publish(message, client) {
      underWay.begin();
      try {
        await publishWill(message, client);
      } catch (error) {
        log.error("a will was not published", { error });
      } finally {
        underWay.end();
      }
    },
  });
  const sessions = createSessions({
    ...{ clock, journal, wills },
    onRestored: (session) => subscribing.restore(session),
    create: (identity, key) =>
      createSession(identity, {
        retained,
        waiting,
        journal: journal && key !== undefined ? journalOf(journal, key) : undefined,
        onDropped: (outcome) => messages.inc({ outcome }),
      }),
    onEnded: (session) => subscribing.forget(session),
  });

  const onEnded = ({ refusal, code, message }: Ending, sender: string) => {
    log.debug("client disconnected", { sender, message });
    if (refusal !== undefined) refusals.inc({ reason: refusal });
    if (code === undefined) return;
    deps.deadLetters.record({ source: "mqtt", code, message, sender, payload: new Uint8Array() });
  };
  const clientDeps = {
    ...{
      log,
      clock,
      gate,
      partial,
      journal,
      sessions,
      subscribing,
      publishing,
      route,
      underWay,
      onEnded,
    },
    codec: createCodec(),
    encoder: createEncoder(),
    handshake: createHandshake(deps),
    peerOf: deps.peerOf,
    onOutcome: (outcome: string) => messages.inc({ outcome }),
    inFlightMax: options.inFlightMax ?? 8192,
  };
  const sockets = createSockets(
    {
      ...{ clock, log, gate },
      create: (socket) => createClient(socket, clientDeps),
      onSweep(nowMs) {
        sessions.sweep(nowMs);
        wills.sweep(nowMs);
        for (const message of retained.expire(nowMs))
          void journal?.retained({ ...message, payload: noBytes }).catch(() => {});
      },
    },
    options,
  );
  if (saved) {
    for (const { message, payload } of saved.retained)
      retained.keep(restoredMessage(message, payload, clock));
    sessions.restore(saved);
    wills.restore(saved);
  }
  reportMetrics(deps.metrics, { gate, retained, partial, waiting, sessions, subscriptions });

  let stopping: Promise<void> | undefined;
  return {
    listen: sockets.listen,
    setTls: sockets.setTls,
    get connections() {
      return gate.open;
    },
    stop() {
      stopping ??= (async () => {
        wills.quiet();
        sockets.quiet();
        // Not for ever: what is not answered stays unacknowledged, and its sender sends it again.
        const limit = deadline(clock, stopTimeoutMs);
        const late = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
        await Promise.race([underWay.idle(), late]);
        limit.done();
        await sockets.close();
        await journal?.idle();
      })();
      return stopping;
    },
  };
}

const journalOf = (journal: Journal, key: SessionKey): SessionJournal => ({
  queued: (flight) => journal.queued(key, flight),
  released: (sequence) => journal.released(key, sequence),
  settled: (sequence) => journal.settled(key, sequence),
});

function reportMetrics(
  metrics: MqttDependencies["metrics"],
  held: {
    readonly gate: { readonly open: number };
    readonly retained: { readonly bytes: number };
    readonly partial: { readonly bytes: number };
    readonly waiting: { readonly bytes: number };
    readonly sessions: { readonly size: number };
    readonly subscriptions: { readonly size: number };
  },
): void {
  const gauge = (name: string, help: string, value: () => number) => {
    const made = metrics.gauge(name, help);
    metrics.beforeRender(() => made.set(value()));
  };
  gauge("skerry_ingest_mqtt_connections", "MQTT connections open now.", () => held.gate.open);
  gauge(
    "skerry_ingest_mqtt_retained_bytes",
    "Retained messages, as bytes.",
    () => held.retained.bytes,
  );
  gauge(
    "skerry_ingest_mqtt_partial_bytes",
    "Of packets that have not ended.",
    () => held.partial.bytes,
  );
  gauge(
    "skerry_ingest_mqtt_waiting_bytes",
    "Messages that wait for subscribers.",
    () => held.waiting.bytes,
  );
  gauge(
    "skerry_ingest_mqtt_sessions",
    "MQTT sessions, connected or not.",
    () => held.sessions.size,
  );
  gauge(
    "skerry_ingest_mqtt_subscriptions",
    "Subscriptions of all sessions.",
    () => held.subscriptions.size,
  );
}

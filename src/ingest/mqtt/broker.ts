/**
 * MQTT 3.1.1 by aedes. aedes sends the PUBACK (PUBREC for QoS 2) right after `authorizePublish`
 * agreed, so that is where a message waits for the store, and an error there closes the connection
 * without an acknowledgement: the protocol's only way to say no (section 3.3.5). The client sends
 * again when it is back.
 *
 * Sessions and retained messages live in memory: a session ends with its connection (the CONNACK
 * says "no session present"), a retained message with the agent.
 */
import { Aedes, type Client, type ConnectPacket, type PublishPacket } from "aedes";
import { deadline } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createConnectionGate } from "../../runtime/connections/index.ts";
import { createBatcher } from "../batcher.ts";
import { createTopicMapping } from "../mapping.ts";
import type { Subject } from "../ports.ts";
import type { PartialBudget } from "./guarded-socket.ts";
import {
  clientIdBytesMax,
  halfOpenMax,
  subscriptionsMax,
  topicLevelsMax,
  topicProblem,
  unreadBytesMax,
  willBytesMax,
} from "./limits.ts";
import type { MqttCredentials, MqttDependencies, MqttIngest, MqttOptions } from "./mqtt.ts";
import { createPublishing } from "./publish.ts";
import { keepNoPayloads } from "./half-open.ts";
import { refusalReason } from "./refusals.ts";
import { createRetained } from "./retained.ts";
import { createSockets } from "./sockets.ts";

const stopTimeoutMs = 5_000;

type ClientState = {
  subject: Subject | undefined;
  inFlight: number;
  readonly filters: Set<string>;
};

export async function createMqttIngest(
  deps: MqttDependencies,
  options: MqttOptions = {},
): Promise<MqttIngest> {
  const connectionsMax = options.connectionsMax ?? 1024;
  const inFlightMax = options.inFlightMax ?? 8192;
  const messages = deps.metrics.counter(
    "skerry_ingest_mqtt_messages_total",
    "Messages published over MQTT by what became of them.",
    ["outcome"],
  );
  const connectionsGauge = deps.metrics.gauge(
    "skerry_ingest_mqtt_connections",
    "MQTT connections open now.",
  );
  const publishing = createPublishing({
    batcher: deps.intake ?? createBatcher(deps, { timeoutMs: options.appendTimeoutMs }),
    deadLetters: deps.deadLetters,
    match: createTopicMapping(deps.streams),
    authorize: deps.authorize,
  });
  const refusals = deps.metrics.counter(
    "skerry_ingest_mqtt_refusals_total",
    "MQTT connections refused or closed, and subscriptions and retained messages not taken, by reason.",
    ["reason"],
  );
  const retained = createRetained();
  const partial: PartialBudget = { bytes: 0 };
  const [retainedGauge, partialGauge] = [
    deps.metrics.gauge("skerry_ingest_mqtt_retained_bytes", "Retained messages, as bytes."),
    deps.metrics.gauge("skerry_ingest_mqtt_partial_bytes", "Of packets that have not ended."),
  ];
  deps.metrics.beforeRender(() => {
    retainedGauge.set(retained.bytes);
    partialGauge.set(partial.bytes);
    connectionsGauge.set(gate.open);
  });
  const gate = createConnectionGate({
    connectionsMax,
    onRefused: (reason) =>
      refusals.inc({ reason: reason === "too-many" ? "too-many-connections" : reason }),
  });
  const stateByClient = new WeakMap<Client, ClientState>();
  const stateOf = (client: Client): ClientState => {
    const known = stateByClient.get(client);
    if (known) return known;
    const state = { subject: undefined, inFlight: 0, filters: new Set<string>() };
    stateByClient.set(client, state);
    return state;
  };
  /** Whose session a client identifier is, so that nobody else takes it over (MQTT-3.1.4-2). */
  const clientById = new Map<string, Client>();
  const settling = new Set<Promise<unknown>>();
  let stopping: Promise<void> | undefined;

  const answerConnect = async (
    client: Client,
    done: (error: (Error & { returnCode: number }) | null, successful: boolean | null) => void,
    credentials: MqttCredentials,
  ) => {
    const connection = sockets.of(client.conn);
    if (!connection) return done(connackError("server unavailable", 3), null);
    if (gate.isOverflow(connection.socket))
      return done(connackError("server unavailable: too many connections", 3), null);
    if (Buffer.byteLength(client.id) > clientIdBytesMax)
      return done(connackError("identifier rejected: too long", 2), null);
    let subject: Subject | undefined;
    try {
      subject = await deps.authenticate(credentials);
    } catch (error) {
      deps.log.error("authentication failed for a reason of our own", { error });
      return done(connackError("server unavailable", 3), null);
    }
    if (!subject) {
      return done(connackError("bad user name or password", 4), null);
    }
    const other = clientById.get(client.id);
    if (other && !other.closed && stateOf(other).subject?.id !== subject.id)
      return done(connackError("identifier rejected: another identity's", 2), null);
    clientById.set(client.id, client);
    stateOf(client).subject = subject;
    gate.hold(connection.socket);
    done(null, true);
  };

  const answerPublish = async (
    client: Client | null,
    packet: PublishPacket,
    done: (error?: Error | null) => void,
  ) => {
    const state = client ? stateOf(client) : { subject: undefined, inFlight: 0 };
    if (state.inFlight >= inFlightMax) {
      messages.inc({ outcome: "refused" });
      return done(
        new SkerryError({
          code: "client-too-fast",
          message: `${client?.id} has ${state.inFlight} messages waiting for the store`,
          retryable: true,
        }),
      );
    }
    state.inFlight++;
    let failure: Error | null = null;
    try {
      const verdict = await publishing({
        topic: packet.topic,
        payload: typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload,
        qos: packet.qos,
        clientId: client?.id ?? "",
        connection: client,
        subject: state.subject,
      });
      messages.inc({ outcome: verdict.state });
      // QoS 0 has no acknowledgement to withhold; it goes on to local subscribers.
      if (verdict.state === "refused" && (packet.qos > 0 || verdict.error.code === "forbidden")) {
        deps.log.debug("message refused", { client: client?.id, error: verdict.error });
        failure = verdict.error;
      }
    } catch (error) {
      messages.inc({ outcome: "failed" });
      deps.log.error("message failed", { topic: packet.topic, error });
      failure = error instanceof Error ? error : new Error(String(error));
    }
    state.inFlight--;
    if (!failure && retained.bound(packet)) refusals.inc({ reason: "retained-full" });
    done(failure);
  };

  const broker = await Aedes.createBroker({
    connectTimeout: 10_000,
    drainTimeout: 5_000,
    // Packets that may arrive before the CONNACK is out.
    queueLimit: 256,
    maxClientsIdLength: clientIdBytesMax,
    maxInflightInbound: halfOpenMax,
    maxTopicLevels: topicLevelsMax,
    preConnect(_client, packet, done) {
      // Neither sessions nor their queues may grow in memory for clients that are away.
      packet.clean = true;
      const problem = willProblem(packet);
      done(problem ?? null, problem === undefined);
    },
    authenticate(client, username, password, done) {
      const socket = sockets.of(client.conn)?.socket;
      const peer = socket && deps.peerOf?.(socket);
      void answerConnect(client, done, {
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password: password.toString() }),
        ...(peer === undefined ? {} : { peer }),
      });
    },
    authorizePublish(client, packet, done) {
      const problem = topicProblem(packet.topic);
      if (problem) {
        messages.inc({ outcome: "refused" });
        return done(problem);
      }
      const work = answerPublish(client, packet, done).finally(() => settling.delete(work));
      settling.add(work);
    },
    authorizeSubscribe(client, subscription, done) {
      const { filters } = stateOf(client);
      const { topic } = subscription;
      if (topicProblem(topic, true) || (filters.size >= subscriptionsMax && !filters.has(topic))) {
        refusals.inc({ reason: "subscription-refused" });
        return done(null, null);
      }
      filters.add(topic);
      done(null, subscription);
    },
    authorizeForward(client, packet) {
      // Dropped for a reader that does not read, so that no writer waits for it.
      if (client.conn.writableLength <= unreadBytesMax / 2) return packet;
      messages.inc({ outcome: "dropped-for-slow-subscriber" });
      return null;
    },
  });
  broker.on("unsubscribe", (topics, client) => {
    for (const topic of topics) stateOf(client).filters.delete(topic);
  });
  broker.on("clientReady", (client) => sockets.of(client.conn)?.guarded.open());
  broker.on("clientDisconnect", (client) => {
    if (clientById.get(client.id) === client) clientById.delete(client.id);
  });
  const onError = (client: Client, error: Error) => {
    deps.log.debug("client disconnected", { client: client.id, error });
    const reason = refusalReason(error);
    if (reason === undefined) return;
    refusals.inc({ reason });
    // What was refused of a message is recorded with the message.
    if (reason === "message-refused") return;
    deps.deadLetters.record({
      source: "mqtt",
      code: error instanceof SkerryError ? error.code : "invalid-packet",
      message: error.message,
      sender: stateOf(client).subject?.id ?? sockets.of(client.conn)?.socket.remoteAddress ?? "",
      payload: new Uint8Array(),
    });
  };
  broker.on("clientError", onError);
  broker.on("connectionError", onError);
  // aedes says so when its in-memory persistence fails, which would be a bug; never by a client's doing.
  (broker as NodeJS.EventEmitter).on("error", (error) =>
    deps.log.error("broker failed", { error }),
  );

  keepNoPayloads(broker);

  const sockets = createSockets(
    { ...deps, gate, partial, handle: (stream) => void broker.handle(stream) },
    options,
  );

  return {
    listen: sockets.listen,
    setTls: sockets.setTls,
    get connections() {
      return gate.open;
    },
    stop() {
      stopping ??= (async () => {
        sockets.quiet();
        // Not for ever: what is not answered stays unacknowledged, and its sender sends it again.
        const limit = deadline(deps.clock, stopTimeoutMs);
        const late = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
        while (settling.size > 0 && !limit.signal.aborted)
          await Promise.race([Promise.allSettled(settling), late]);
        limit.done();
        // Their acknowledgements are written on the next turn.
        await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
        await new Promise<void>((resolve) => broker.close(resolve));
        sockets.destroy();
      })();
      return stopping;
    },
  };
}

function willProblem({ will }: ConnectPacket): SkerryError | undefined {
  if (!will) return undefined;
  if (will.payload.length <= willBytesMax) return topicProblem(will.topic);
  return new SkerryError({
    code: "message-too-large",
    message: `a will of ${will.payload.length} bytes; at most ${willBytesMax} are taken`,
  });
}

function connackError(message: string, returnCode: 2 | 3 | 4) {
  return Object.assign(new Error(message), { returnCode });
}

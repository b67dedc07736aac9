/**
 * MQTT 3.1.1 by aedes. aedes sends the PUBACK (PUBREC for QoS 2) right after `authorizePublish`
 * agreed, so that is where a message waits for the store, and an error there closes the connection
 * without an acknowledgement: the protocol's only way to say no (section 3.3.5). The client sends
 * again when it is back.
 *
 * Sessions and retained messages live in memory: a session ends with its connection (the CONNACK
 * says "no session present"), a retained message with the agent.
 */
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, Server as TlsServer } from "node:tls";
import type { Duplex } from "node:stream";
import { Aedes, type Client, type PublishPacket } from "aedes";
import { deadline } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { listenOn } from "../../runtime/listen/index.ts";
import { createBatcher } from "../batcher.ts";
import { entryBytesMax } from "../entry-body.ts";
import { createTopicMapping } from "../mapping.ts";
import type { Subject } from "../ports.ts";
import { guardSocket, unreadBytesMax } from "./guarded-socket.ts";
import type { MqttCredentials, MqttDependencies, MqttIngest, MqttOptions } from "./mqtt.ts";
import { createPublishing } from "./publish.ts";

/** Topic, packet identifier and the header come on top of the payload. */
const packetBytesMax = entryBytesMax + 66_000;
const retainedTopicsMax = 4096;
const subscriptionsMax = 128;
const stopTimeoutMs = 5_000;

type ClientState = { subject: Subject | undefined; inFlight: number; subscriptions: number };

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
  const stateByClient = new WeakMap<Client, ClientState>();
  const stateOf = (client: Client): ClientState => {
    const known = stateByClient.get(client);
    if (known) return known;
    const state = { subject: undefined, inFlight: 0, subscriptions: 0 };
    stateByClient.set(client, state);
    return state;
  };
  const socketByConnection = new WeakMap<Duplex, Socket>();
  const retainedTopics = new Set<string>();
  const settling = new Set<Promise<unknown>>();
  const servers = new Set<Server>();
  const sockets = new Set<Socket>();
  let stopping: Promise<void> | undefined;

  const answerConnect = async (
    client: Client,
    done: (error: (Error & { returnCode: number }) | null, successful: boolean | null) => void,
    credentials: MqttCredentials,
  ) => {
    let subject: Subject | undefined;
    try {
      subject = await deps.authenticate(credentials);
    } catch (error) {
      deps.log.error("authentication failed for a reason of our own", { error });
      return done(connackError("server unavailable", 3), null);
    }
    if (!subject) {
      messages.inc({ outcome: "unauthenticated" });
      return done(connackError("bad user name or password", 4), null);
    }
    stateOf(client).subject = subject;
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
    done(failure);
  };

  const broker = await Aedes.createBroker({
    connectTimeout: 10_000,
    drainTimeout: 5_000,
    // Packets that may arrive before the CONNACK is out.
    queueLimit: 256,
    maxClientsIdLength: 256,
    preConnect(_client, packet, done) {
      // Neither sessions nor their queues may grow in memory for clients that are away.
      packet.clean = true;
      if (packet.will && packet.will.payload.length > entryBytesMax)
        return done(invalid("the will is too large"), false);
      done(null, true);
    },
    authenticate(client, username, password, done) {
      const socket = socketByConnection.get(client.conn);
      const peer = socket && deps.peerOf?.(socket);
      void answerConnect(client, done, {
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password: password.toString() }),
        ...(peer === undefined ? {} : { peer }),
      });
    },
    authorizePublish(client, packet, done) {
      if (packet.topic.startsWith("$")) {
        messages.inc({ outcome: "refused" });
        return done(invalid(`topic ${packet.topic}: topics that begin with $ are the broker's`));
      }
      boundRetained(packet, retainedTopics);
      const work = answerPublish(client, packet, done).finally(() => settling.delete(work));
      settling.add(work);
    },
    authorizeSubscribe(client, subscription, done) {
      const state = stateOf(client);
      if (subscription.topic.startsWith("$") || state.subscriptions >= subscriptionsMax)
        return done(null, null);
      state.subscriptions++;
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
    const state = stateOf(client);
    state.subscriptions = Math.max(0, state.subscriptions - topics.length);
  });
  broker.on("clientError", (client, error) =>
    deps.log.debug("client disconnected", { client: client.id, error }),
  );
  broker.on("connectionError", (_client, error) => deps.log.debug("connection refused", { error }));
  // aedes says so when its in-memory persistence fails, which would be a bug; never by a client's doing.
  (broker as NodeJS.EventEmitter).on("error", (error) =>
    deps.log.error("broker failed", { error }),
  );

  const accept = (socket: Socket) => {
    if (stopping || sockets.size >= connectionsMax) {
      messages.inc({ outcome: "connection-refused" });
      socket.on("error", () => {});
      socket.destroy();
      return;
    }
    sockets.add(socket);
    connectionsGauge.set(sockets.size);
    socket.once("close", () => {
      sockets.delete(socket);
      connectionsGauge.set(sockets.size);
    });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.setTimeout(options.idleTimeoutMs ?? 1_200_000, () => socket.destroy());
    const guarded = guardSocket(socket, { packetBytesMax });
    socketByConnection.set(guarded, socket);
    guarded.once("error", (error) => {
      if (error instanceof SkerryError) {
        deps.deadLetters.record({
          source: "mqtt",
          code: error.code,
          message: error.message,
          sender: socket.remoteAddress ?? "",
          payload: new Uint8Array(),
        });
        messages.inc({ outcome: "refused" });
      }
    });
    broker.handle(guarded);
  };

  return {
    async listen({ host, port, tls }) {
      const server = tls
        ? createTlsServer({ ...tls, handshakeTimeout: 10_000 }, accept)
        : createServer(accept);
      if (tls)
        server.on("tlsClientError", (error) => deps.log.debug("handshake failed", { error }));
      server.maxConnections = connectionsMax;
      const listening = await listenOn(server, { host, port, what: "MQTT" });
      server.on("error", (error) => deps.log.error("MQTT listener failed", { error }));
      servers.add(server);
      return listening;
    },
    setTls(tls) {
      for (const server of servers) if (server instanceof TlsServer) server.setSecureContext(tls);
    },
    get connections() {
      return sockets.size;
    },
    stop() {
      stopping ??= (async () => {
        for (const server of servers) server.close();
        for (const socket of sockets) socket.pause();
        // Not for ever: what is not answered stays unacknowledged, and its sender sends it again.
        const limit = deadline(deps.clock, stopTimeoutMs);
        const late = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
        while (settling.size > 0 && !limit.signal.aborted)
          await Promise.race([Promise.allSettled(settling), late]);
        limit.done();
        // Their acknowledgements are written on the next turn.
        await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
        await new Promise<void>((resolve) => broker.close(resolve));
        for (const socket of sockets) socket.destroy();
      })();
      return stopping;
    },
  };
}

/** Keeps the number of retained topics bounded; a message too many is passed on unretained. */
function boundRetained(
  packet: { topic: string; retain: boolean; payload: string | Buffer },
  retainedTopics: Set<string>,
) {
  if (!packet.retain) return;
  if (packet.payload.length === 0) retainedTopics.delete(packet.topic);
  else if (retainedTopics.size < retainedTopicsMax) retainedTopics.add(packet.topic);
  else if (!retainedTopics.has(packet.topic)) packet.retain = false;
}

const invalid = (message: string) => new SkerryError({ code: "invalid-packet", message });

function connackError(message: string, returnCode: 3 | 4) {
  return Object.assign(new Error(message), { returnCode });
}

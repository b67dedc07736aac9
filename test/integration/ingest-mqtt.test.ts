import { strict as assert } from "node:assert";
import { X509Certificate } from "node:crypto";
import { connect as connectSocket } from "node:net";
import { test, type TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { connectAsync } from "mqtt";
import type { MqttDependencies } from "../../src/ingest/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { clientTlsOptions, serverTlsOptions, verifyPeer } from "../../src/transport/index.ts";
import { connectPacket, publishPacket, refused, subscribePacket } from "../support/ingest.ts";
import { startMqtt } from "../support/mqtt.ts";
import { testCell } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const streams = [
  { name: "temperature", durability: { level: "local" }, mqttTopics: ["plant/+/temp"] },
  { name: "everything", durability: { level: "peer", peers: 1 }, mqttTopics: ["plant/#"] },
] as const;

const start = (t: TestContext, deps: Partial<MqttDependencies> = {}, options = {}) =>
  startMqtt(
    t,
    {
      streams: () => streams,
      authenticate: async ({ password }) =>
        password === "wrong" ? undefined : { id: "spiffe://c.skerry/app/test" },
      ...deps,
    },
    options,
  );

test("I1: a QoS 1 message is acknowledged only after the append resolved", async (t) => {
  const { store, connect } = await start(t);
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  store.behaviour = async () => {
    asked++;
    await gate.promise;
    return undefined;
  };
  const client = await connect();
  let acknowledged = false;
  const publishing = client
    .publishAsync("streams/temperature", '{"celsius":21.5}', { qos: 1 })
    .then(() => (acknowledged = true));
  await waitFor(() => asked === 1, { what: "the store to be asked" });
  // The broker is not idle meanwhile: a round trip of another client passes.
  const other = await connect();
  await other.subscribeAsync("chat");
  assert.equal(acknowledged, false);
  gate.resolve();
  await publishing;
  assert.deepEqual(store.bodies(), [{ celsius: 21.5 }]);
  assert.deepEqual(store.levels, [{ level: "local" }]);
});

test("I1: a refused append is never acknowledged: the connection closes, the client resends, it is stored once", async (t) => {
  const { store, connect, deadLetters } = await start(t);
  let refusals = 2;
  store.behaviour = async () => (refusals-- > 0 ? refused("disk-full") : undefined);
  const client = await connect({ reconnectPeriod: 20 });
  let closes = 0;
  client.on("close", () => closes++);
  await client.publishAsync(
    "streams/temperature",
    '{"celsius":1,"$key":{"producer":"p","epoch":1,"sequence":1}}',
    { qos: 1 },
  );
  assert.equal(closes, 2);
  assert.deepEqual(store.bodies(), [{ celsius: 1 }]);
  assert.deepEqual(store.stored[0]?.key, { producer: "p", epoch: 1, sequence: 1 });
  assert.deepEqual(deadLetters.list(), [], "I4: what is sent again is no dead letter");
});

test("I1: a level that is not reached in time is not acknowledged", async (t) => {
  const { store, connect } = await start(t);
  store.behaviour = async () => ({
    state: "short",
    reached: { level: "local" },
    stored: 1,
    duplicates: 0,
  });
  const client = await connect();
  let acknowledged = false;
  client.publish("streams/everything", "{}", { qos: 1 }, (error) => (acknowledged = !error));
  await waitFor(() => !client.connected, { what: "the connection to be closed" });
  assert.equal(acknowledged, false);
});

test("I1: an append that throws is not acknowledged and harms nobody else", async (t) => {
  const { store, connect } = await start(t);
  const steady = await connect();
  store.behaviour = async () => {
    throw new Error("the storage thread ended");
  };
  const client = await connect();
  client.publish("streams/temperature", "{}", { qos: 1 }, () => {});
  await waitFor(() => !client.connected, { what: "the connection to be closed" });
  store.behaviour = undefined;
  await steady.publishAsync("streams/temperature", "{}", { qos: 1 });
  assert.equal(store.stored.length, 1);
});

test("I2: topics with wildcards reach every stream that asks for them, at the strongest level", async (t) => {
  const { store, connect } = await start(t);
  const client = await connect();
  await client.publishAsync("plant/hall-3/temp", "21.5", { qos: 1 });
  assert.deepEqual(
    store.stored.map(({ stream }) => stream),
    ["temperature", "everything"],
  );
  assert.deepEqual(store.bodies(), [{ value: 21.5 }, { value: 21.5 }]);
  assert.deepEqual(store.levels[0], { level: "peer", peers: 1 });
});

test("I3: QoS 0 goes in at level memory; text and bytes are wrapped", async (t) => {
  const { store, connect } = await start(t);
  const client = await connect();
  client.publish("streams/temperature", "hot");
  client.publish("streams/temperature", Buffer.from([0xff, 0x00]));
  await waitFor(() => store.stored.length === 2, { what: "two entries" });
  assert.deepEqual(store.bodies(), [{ value: "hot" }, { value: "/wA=", encoding: "base64" }]);
  assert.deepEqual(store.levels[0], { level: "memory" });
});

test("I3: QoS 2 is released only after the append", async (t) => {
  const { store, connect } = await start(t);
  const client = await connect();
  await client.publishAsync("streams/temperature", '{"a":1}', { qos: 2 });
  assert.deepEqual(store.bodies(), [{ a: 1 }]);
});

test("I4: an unknown stream and a bad key are refused, recorded with the reason, and named", async (t) => {
  const { store, connect, deadLetters } = await start(t);
  for (const [topic, payload] of [
    ["streams/nobody", "{}"],
    ["streams/temperature", '{"$key":{"producer":"p","epoch":1,"sequence":"x"}}'],
  ] as const) {
    const client = await connect();
    client.publish(topic, payload, { qos: 1 }, () => {});
    await waitFor(() => !client.connected, { what: "the connection to be closed" });
  }
  const [bad, unknown] = deadLetters.list();
  assert.equal(unknown?.code, "stream-unknown");
  assert.equal(bad?.code, "invalid-entry");
  assert.match(bad?.message ?? "", /\$key\.sequence must be a whole number from 1, got "x"/);
  assert.equal(store.stored.length, 0);
});

test("other topics are ordinary MQTT between local clients", async (t) => {
  const { store, connect } = await start(t);
  const reader = await connect();
  await reader.subscribeAsync("chat/#", { qos: 1 });
  const received = new Promise((resolve) =>
    reader.once("message", (topic, payload) => resolve([topic, payload.toString()])),
  );
  const writer = await connect();
  await writer.publishAsync("chat/hello", "there", { qos: 1 });
  assert.deepEqual(await received, ["chat/hello", "there"]);
  assert.equal(store.stored.length, 0);
});

test("a message refused for its content does not take its neighbours along", async (t) => {
  const { store, connect } = await start(t);
  const poison = (batch: readonly { body: Uint8Array }[]) =>
    batch.some(({ body }) => new TextDecoder().decode(body).includes("poison"));
  store.behaviour = async (batch) => (poison(batch) ? refused("invalid-entry", false) : undefined);
  const clients = await Promise.all([connect(), connect(), connect()]);
  const outcomes = await Promise.all(
    clients.map((client, index) => {
      const closed = new Promise<"closed">((resolve) =>
        client.once("close", () => resolve("closed")),
      );
      const payload = JSON.stringify(index === 1 ? { poison: true } : { index });
      const acknowledged = client.publishAsync("streams/temperature", payload, { qos: 1 });
      return Promise.race([closed, acknowledged.then(() => "acknowledged")]);
    }),
  );
  assert.deepEqual(outcomes, ["acknowledged", "closed", "acknowledged"]);
});

test("I5: an oversized packet is refused by its header, before it is collected", async (t) => {
  const { port, deadLetters } = await start(t);
  const socket = connectSocket(port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  socket.write(connectPacket("large"));
  await new Promise((resolve) => socket.once("data", resolve));
  // PUBLISH with a remaining length of 256 MiB - 1, and nothing after it.
  socket.write(Buffer.from([0x32, 0xff, 0xff, 0xff, 0x7f]));
  await new Promise((resolve) => socket.once("close", resolve));
  assert.equal(deadLetters.countByCode.get("message-too-large"), 1);
});

test("I5: connections and messages in flight are bounded", async (t) => {
  const { store, ingest, port, connect } = await start(
    t,
    {},
    { connectionsMax: 2, inFlightMax: 3 },
  );
  const gate = Promise.withResolvers<undefined>();
  store.behaviour = () => gate.promise;
  const client = await connect();
  await connect();
  const third = connectSocket(port, "127.0.0.1");
  third.on("error", () => {});
  third.write(connectPacket("third"));
  const answer = await new Promise((resolve) => third.once("data", resolve));
  // CONNACK, return code 3: server unavailable.
  assert.deepEqual(answer, Buffer.from([0x20, 2, 0, 3]));
  await new Promise((resolve) => third.once("close", resolve));
  for (let i = 0; i < 5; i++) client.publish("streams/temperature", "{}", { qos: 1 }, () => {});
  await waitFor(() => !client.connected, { what: "the fast client to be closed" });
  await waitFor(() => ingest.connections === 1, { what: "its place to be free" });
  gate.resolve(undefined);
});

test("a wrong token is refused with return code 4", async (t) => {
  const { connect } = await start(t);
  await assert.rejects(connect({ username: "x", password: "wrong" }), /Bad username or password/);
});

test("who may not append is disconnected", async (t) => {
  const { connect, deadLetters } = await start(t, {
    authorize: (_s, stream) => stream !== "temperature",
  });
  const client = await connect();
  client.publish("streams/temperature", "{}", { qos: 0 });
  await waitFor(() => !client.connected, { what: "the connection to be closed" });
  assert.equal(deadLetters.list()[0]?.code, "forbidden");
});

test("stop lets messages on their way end and acknowledges them", async (t) => {
  const { store, connect, ingest } = await start(t);
  const gate = Promise.withResolvers<void>();
  let asked = false;
  store.behaviour = async () => {
    asked = true;
    await gate.promise;
    return undefined;
  };
  const client = await connect();
  const publishing = client.publishAsync("streams/temperature", '{"last":true}', { qos: 1 });
  await waitFor(() => asked, { what: "the store to be asked" });
  const stopping = ingest.stop();
  gate.resolve();
  await Promise.all([publishing, stopping]);
  assert.deepEqual(store.bodies(), [{ last: true }]);
});

test("a port in use is named", async (t) => {
  const { ingest, port } = await start(t);
  await assert.rejects(ingest.listen({ host: "127.0.0.1", port }), {
    code: "port-in-use",
    message: `MQTT: another process listens on 127.0.0.1:${port}`,
  });
});

test("I6: bytes that are no MQTT close their connection and nothing else (seed 11)", async (t) => {
  const { port, connect, store, ingest } = await start(t);
  const random = seededRandom(11);
  const hello = connectPacket("f");
  const publish = publishPacket("streams/temperature", "{}");
  for (let round = 0; round < 150; round++) {
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("error", () => {});
    const bytes = Buffer.concat([hello, publish, Buffer.from(random.bytes(random.integer(200)))]);
    for (let flips = random.integer(6); flips > 0; flips--)
      bytes[random.integer(bytes.length)] = random.integer(256);
    socket.end(random.integer(3) === 0 ? Buffer.from(random.bytes(64)) : bytes);
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
  }
  const before = store.stored.length;
  const client = await connect();
  await client.publishAsync("streams/temperature", '{"alive":true}', { qos: 1 });
  assert.ok(store.stored.length > before);
  await waitFor(() => ingest.connections === 1, { what: "the fuzzed connections to be gone" });
});

test("a reader that does not read holds up no writer", async (t) => {
  const { port, connect, store } = await start(t);
  const reader = connectSocket(port, "127.0.0.1");
  t.after(() => reader.destroy());
  reader.on("error", () => {});
  reader.write(connectPacket("slow"));
  reader.write(subscribePacket("streams/#"));
  await new Promise((resolve) => reader.once("data", resolve));
  reader.pause();
  const writer = await connect();
  const payload = JSON.stringify({ filler: "x".repeat(100_000) });
  for (let i = 0; i < 150; i++)
    await writer.publishAsync("streams/temperature", payload, { qos: 1 });
  assert.equal(store.stored.length, 150);
});

test("I9: over TLS a client's certificate says who it is; a certificate of another cell says nothing", async (t) => {
  const cell = await testCell("cell-a");
  const other = await testCell("cell-b");
  const server = await cell.credentials("node", "n1");
  const subjects: (string | undefined)[] = [];
  const { ingest, store } = await start(t, {
    peerOf: (socket) => {
      const verdict = verifyPeer(socket as TLSSocket, [cell.trust], Date.now());
      return verdict.ok ? verdict.subject.id : undefined;
    },
    authenticate: async ({ peer }) => {
      subjects.push(peer);
      return peer === undefined ? undefined : { id: peer };
    },
    authorize: ({ id }) => id === "spiffe://cell-a.skerry/app/thermometer",
  });
  const { port } = await ingest.listen({
    host: "127.0.0.1",
    port: 0,
    tls: serverTlsOptions({ credentials: server, trusts: [cell.trust], requestCert: true }),
  });
  const connect = async (credentials?: Awaited<ReturnType<typeof cell.credentials>>) => {
    const client = await connectAsync(`mqtts://127.0.0.1:${port}`, {
      reconnectPeriod: 0,
      ...(clientTlsOptions({ credentials, trusts: [cell.trust] }) as object),
      servername: "n1.skerry",
    });
    t.after(() => client.endAsync(true));
    return client;
  };
  const client = await connect(await cell.credentials("app", "thermometer"));
  await client.publishAsync("streams/temperature", '{"celsius":3}', { qos: 1 });
  assert.deepEqual(store.bodies(), [{ celsius: 3 }]);
  await assert.rejects(connect(await other.credentials("app", "thermometer")), /Bad username/);
  await assert.rejects(connect(), /Bad username/);
  const renewed = await cell.credentials("node", "n1");
  ingest.setTls(
    serverTlsOptions({ credentials: renewed, trusts: [cell.trust], requestCert: true }),
  );
  const after = await connect(await cell.credentials("app", "thermometer"));
  const seen = (after.stream as unknown as TLSSocket).getPeerX509Certificate();
  assert.equal(seen?.raw.equals(new X509Certificate(renewed.chainPem).raw), true);
  assert.deepEqual(subjects.slice(0, 3), [
    "spiffe://cell-a.skerry/app/thermometer",
    undefined,
    undefined,
  ]);
});

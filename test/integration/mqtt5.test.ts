/** MQTT 5 by a real client (`mqtt`) and, where a proper one would not do it, by hand. */
import { strict as assert } from "node:assert";
import { test, type TestContext } from "node:test";
import { connect as connectClient, type IPublishPacket, type MqttClient } from "mqtt";
import { generate, type Packet } from "mqtt-packet";
import type { MqttDependencies, MqttOptions } from "../../src/ingest/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { closed, hostileSeed, rawSocket, sendDamaged } from "../support/hostile.ts";
import { refused } from "../support/ingest.ts";
import { startMqtt } from "../support/mqtt.ts";
import { byHand, publish } from "../support/mqtt5.ts";
import { createStallingClock } from "../support/stalling-clock.ts";
import { waitFor } from "../support/wait.ts";

const streams = [{ name: "s", durability: { level: "local" }, mqttTopics: ["plant/#"] }] as const;

async function start(
  t: TestContext,
  deps: Partial<MqttDependencies> = {},
  options: MqttOptions = {},
) {
  const broker = await startMqtt(
    t,
    {
      streams: () => streams,
      authenticate: async ({ username, password }) =>
        password === "wrong" ? undefined : { id: `spiffe://c.skerry/app/${username ?? "test"}` },
      ...deps,
    },
    options,
  );
  const connect5 = (more = {}) => broker.connect({ protocolVersion: 5, ...more });
  return { ...broker, connect5 };
}

type Received = { topic: string; text: string; packet: IPublishPacket };

function inbox(client: MqttClient): Received[] {
  const received: Received[] = [];
  client.on("message", (topic, payload, packet) =>
    received.push({ topic, text: payload.toString(), packet }),
  );
  return received;
}

const texts = (received: readonly Received[]) => received.map(({ text }) => text);
const some = (received: readonly Received[], count: number) =>
  waitFor(() => received.length >= count, { what: `${count} messages`, timeoutMs: 30_000 });

test("I1, I14: MQTT 5 is told the level that was reached, and why a message was refused, on an open connection", async (t) => {
  const { store, connect5, deadLetters } = await start(t, {
    authorize: (_subject, stream) => stream === "s",
    streams: () => [...streams, { name: "secret", durability: { level: "local" }, mqttTopics: [] }],
  });
  const client = await connect5();
  const answers: Packet[] = [];
  client.on("packetreceive", (packet) => answers.push(packet));
  await client.publishAsync("plant/a", "{}", { qos: 1 });
  await client.publishAsync("plant/a", "{}", { qos: 2 });
  const reached = answers
    .filter(({ cmd }) => cmd === "puback" || cmd === "pubrec")
    .map((packet) => "properties" in packet && packet.properties);
  for (const properties of reached)
    assert.deepEqual({ ...Object(properties).userProperties }, { "skerry-reached": "local" });
  assert.equal(reached.length, 2);

  store.behaviour = async () => ({
    state: "short",
    reached: { level: "local" },
    stored: 1,
    duplicates: 0,
  });
  const reasons: unknown[] = [];
  const publishing = async (topic: string, payload: string) =>
    client
      .publishAsync(topic, payload, { qos: 1 })
      .then(() => reasons.push("acknowledged"))
      .catch((error: { code: number }) => reasons.push(error.code));
  await publishing("plant/a", "{}");
  store.behaviour = async () => refused("disk-full");
  await publishing("plant/a", "{}");
  store.behaviour = undefined;
  await publishing("streams/nobody", "{}");
  await publishing("streams/secret", "{}");
  await publishing("plant/a", '{"$key":1}');
  assert.deepEqual(reasons, [0x83, 0x97, 0x90, 0x87, 0x99]);
  assert.equal(client.connected, true);
  assert.equal(deadLetters.countByCode.get("invalid-entry"), 1);
  const short = answers.find((packet) => "reasonCode" in packet && packet.reasonCode === 0x83);
  assert.equal(
    Object(short && "properties" in short && short.properties).userProperties["skerry-reached"],
    "local",
  );
});

test("I14: user properties carry the key and the durability level; what is wrong in them is named", async (t) => {
  const { store, connect5, deadLetters } = await start(t);
  const client = await connect5();
  const userProperties = {
    "skerry-producer": "scale-4",
    "skerry-epoch": "2",
    "skerry-sequence": "7",
    "skerry-durability": "peer(1)",
    colour: "red",
  };
  for (let i = 0; i < 2; i++)
    await client.publishAsync("plant/a", '{"a":1}', { qos: 1, properties: { userProperties } });
  assert.equal(store.stored.length, 1);
  assert.deepEqual(store.stored[0]?.key, { producer: "scale-4", epoch: 2, sequence: 7 });
  assert.deepEqual(store.levels, [{ level: "peer", peers: 1 }]);
  for (const [wrong, message] of [
    [{ "skerry-sequence": "7" }, /user property skerry\.producer must be/],
    [{ "skerry-durability": "much" }, /skerry-durability must be memory, .* got "much"/],
    [{ "skerry-durabilty": "hub" }, /skerry-durabilty is unknown/],
    [{ "skerry-epoch": ["1", "2"] }, /skerry-epoch is given twice/],
  ] as const) {
    await assert.rejects(
      client.publishAsync("plant/a", "{}", {
        qos: 1,
        properties: { userProperties: wrong as Record<string, string | string[]> },
      }),
    );
    assert.match(deadLetters.list()[0]?.message ?? "", message);
  }
});

test("MQTT 5: the CONNACK says what the broker takes, gives an identifier, and why it refuses", async (t) => {
  const { port, connect5 } = await start(t);
  const asked = { clientId: "", properties: { sessionExpiryInterval: 4_000_000_000 } };
  const { next } = await byHand(t, port, asked);
  const connack = await next("connack");
  const given = Object("properties" in connack && connack.properties);
  assert.match(given.assignedClientIdentifier, /^auto-/);
  assert.equal(given.sessionExpiryInterval, 7 * 24 * 3600);
  assert.equal(given.receiveMaximum, 512);
  assert.ok(given.maximumPacketSize > 256 * 1024);
  await assert.rejects(connect5({ username: "a", password: "wrong" }), { code: 0x86 });
  const extended = await byHand(t, port, { properties: { authenticationMethod: "SCRAM" } });
  assert.equal(Object(await extended.next("connack")).reasonCode, 0x8c);
  const other = await byHand(t, port, { clientId: "pump", username: "a" });
  await other.next("connack");
  const thief = await byHand(t, port, { clientId: "pump", username: "b" });
  assert.equal(Object(await thief.next("connack")).reasonCode, 0x85);
  const version6 = rawSocket(t, port);
  version6.write(Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 6, 2, 0, 0, 0, 1, 0x61]));
  await closed(version6);
  assert.equal(version6.received(), "\x20\x02\x00\x01");
});

test("I15: what MQTT 5 does not allow ends the connection with the reason in a DISCONNECT", async (t) => {
  const { port } = await start(t, {}, { inFlightMax: 3 });
  const cases: readonly (readonly [string, number, readonly Packet[]])[] = [
    ["a wildcard in a topic", 0x90, [publish({ topic: "plant/#" })]],
    ["a topic of the broker", 0x90, [publish({ topic: "$SYS/a" })]],
    ["an alias too large", 0x94, [publish({ properties: { topicAlias: 17 } })]],
    ["an unknown alias", 0x82, [publish({ topic: "", properties: { topicAlias: 3 } })]],
    ["a subscription identifier", 0x82, [publish({ properties: { subscriptionIdentifier: 1 } })]],
    ["a second CONNECT", 0x82, [{ cmd: "connect", clientId: "x", protocolVersion: 5 }]],
    ["extended authentication", 0x82, [{ cmd: "auth", reasonCode: 0x18 }]],
    ["too many in flight", 0x93, [1, 2, 3, 4].map((messageId) => publish({ messageId }))],
  ];
  for (const [what, reasonCode, packets] of cases) {
    const { socket, send, next } = await byHand(t, port);
    await next("connack");
    socket.cork();
    for (const packet of packets) send(packet);
    socket.uncork();
    const goodbye = Object(await next("disconnect"));
    assert.equal(goodbye.reasonCode, reasonCode, what);
    assert.ok(goodbye.properties.reasonString.length > 0);
    await closed(socket);
  }
  const large = await byHand(t, port);
  await large.next("connack");
  large.socket.write(Buffer.from([0x32, 0xff, 0xff, 0xff, 0x7f]));
  assert.equal(Object(await large.next("disconnect")).reasonCode, 0x95);
  const first = await byHand(t, port, { clientId: "twice" });
  await first.next("connack");
  await byHand(t, port, { clientId: "twice" });
  assert.equal(Object(await first.next("disconnect")).reasonCode, 0x8e);
});

test("MQTT 5: topic aliases, message properties and their order, message expiry", async (t) => {
  const { port, connect5 } = await start(t);
  const reader = await connect5();
  const received = inbox(reader);
  await reader.subscribeAsync("chat/#", { qos: 1 });
  const writer = await byHand(t, port);
  await writer.next("connack");
  writer.send(publish({ topic: "chat/a", payload: "1", properties: { topicAlias: 2 } }));
  writer.send(
    publish({
      topic: "",
      payload: "2",
      messageId: 2,
      properties: {
        topicAlias: 2,
        contentType: "text/plain",
        responseTopic: "chat/answers",
        correlationData: Buffer.from([1, 2]),
        messageExpiryInterval: 100,
        userProperties: { b: "1", a: ["2", "3"] },
      },
    }),
  );
  await some(received, 2);
  assert.deepEqual(
    received.map(({ topic, text }) => [topic, text]),
    [
      ["chat/a", "1"],
      ["chat/a", "2"],
    ],
  );
  const { messageExpiryInterval, ...properties } = received[1]?.packet.properties ?? {};
  assert.ok(messageExpiryInterval !== undefined && messageExpiryInterval <= 100);
  assert.deepEqual(JSON.parse(JSON.stringify(properties)), {
    contentType: "text/plain",
    responseTopic: "chat/answers",
    correlationData: { type: "Buffer", data: [1, 2] },
    userProperties: { b: "1", a: ["2", "3"] },
  });
});

test("MQTT 5: no-local, retain-as-published, retain handling, subscription identifiers, no matching subscribers", async (t) => {
  const { connect5 } = await start(t);
  const client = await connect5({ clientId: "self" });
  const received = inbox(client);
  await client.publishAsync("chat/kept", "old", { qos: 1, retain: true });
  const alone = new Promise<Packet>((resolve) => client.once("packetreceive", resolve));
  await client.publishAsync("nobody/here", "x", { qos: 1 });
  assert.equal(Object(await alone).reasonCode, 0x10);
  await client.subscribeAsync("chat/#", { qos: 1, nl: true, rh: 2, rap: true });
  await client.subscribeAsync("own/+", { qos: 2, properties: { subscriptionIdentifier: 5 } });
  await client.subscribeAsync("own/a", { qos: 1, properties: { subscriptionIdentifier: 6 } });
  await client.publishAsync("chat/a", "by myself", { qos: 1 });
  await client.publishAsync("own/a", "mine", { qos: 2 });
  const other = await connect5();
  await other.publishAsync("chat/kept", "new", { qos: 1, retain: true });
  await some(received, 2);
  assert.deepEqual(texts(received), ["mine", "new"]);
  const [mine, kept] = received;
  assert.equal(mine?.packet.qos, 2);
  const identifiers = mine?.packet.properties?.subscriptionIdentifier;
  assert.deepEqual(new Set([identifiers].flat()), new Set([5, 6]));
  assert.equal(kept?.packet.retain, true);
  // Retained messages come again with rh 0, with rh 1 only for a new subscription, as rh 2 never.
  await client.subscribeAsync("chat/#", { qos: 1, rh: 1 });
  await client.subscribeAsync("chat/#", { qos: 1, rh: 0 });
  await some(received, 3);
  assert.deepEqual(texts(received).slice(2), ["new"]);
  await client.publishAsync("chat/kept", "", { qos: 1, retain: true });
  const late = await connect5();
  const lateReceived = inbox(late);
  await late.subscribeAsync("chat/kept", { qos: 1 });
  await late.publishAsync("chat/kept", "after", { qos: 1 });
  await some(lateReceived, 1);
  assert.deepEqual(texts(lateReceived), ["after"]);
});

for (const protocolVersion of [4, 5] as const) {
  const more =
    protocolVersion === 5
      ? { protocolVersion, properties: { sessionExpiryInterval: 600 } }
      : { protocolVersion };

  test(`I16: version ${protocolVersion}: a session that is kept gets what was sent meanwhile, once and in order; a clean one does not`, async (t) => {
    const { connect, port } = await start(t);
    const away = { ...more, clientId: "away", clean: false };
    const first = await connect(away);
    await first.subscribeAsync({ "chat/#": { qos: 2 }, "low/#": { qos: 0 } });
    await first.endAsync();
    const writer = await connect();
    const sent = Array.from({ length: 400 }, (_, i) => String(i));
    for (const [i, text] of sent.entries())
      await writer.publishAsync("chat/a", text, { qos: i % 2 === 0 ? 1 : 2 });
    await writer.publishAsync("low/a", "not kept", { qos: 1 });
    const again = connectClient(`mqtt://127.0.0.1:${port}`, { ...away, reconnectPeriod: 0 });
    t.after(() => again.endAsync(true));
    // Listening before it is connected: what waited comes right behind the CONNACK.
    const received = inbox(again);
    let isPresent: boolean | undefined;
    again.on("connect", (connack) => (isPresent = connack.sessionPresent));
    await some(received, 400);
    await writer.publishAsync("chat/a", "live", { qos: 2 });
    await some(received, 401);
    assert.equal(isPresent, true);
    // The order is that of one topic and one QoS (MQTT 5, section 4.6).
    const at = (qos: number) => texts(received.filter(({ packet }) => packet.qos === qos));
    assert.deepEqual(
      at(1),
      sent.filter((_, i) => i % 2 === 0),
    );
    assert.deepEqual(at(2), [...sent.filter((_, i) => i % 2 === 1), "live"]);
    await again.endAsync();
    const clean = await connect({ ...more, clientId: "away", clean: true });
    const nothing = inbox(clean);
    await writer.publishAsync("chat/a", "for nobody", { qos: 1 });
    await clean.subscribeAsync("end");
    await writer.publishAsync("end", "end", { qos: 1 });
    await some(nothing, 1);
    assert.deepEqual(texts(nothing), ["end"]);
  });

  test(`version ${protocolVersion}: a shared subscription gives each message to one member`, async (t) => {
    const { connect } = await start(t);
    const members = await Promise.all([1, 2, 3].map(() => connect({ protocolVersion })));
    const all = members.map(inbox);
    for (const member of members) await member.subscribeAsync("$share/g/chat/+", { qos: 1 });
    const whole = await connect({ protocolVersion });
    const everything = inbox(whole);
    await whole.subscribeAsync("chat/+", { qos: 1 });
    const writer = await connect({ protocolVersion });
    for (let i = 0; i < 30; i++) await writer.publishAsync("chat/a", String(i), { qos: 1 });
    await some(everything, 30);
    await waitFor(() => all.flat().length >= 30, { what: "all to be given out" });
    assert.deepEqual(
      all.map(({ length }) => length),
      [10, 10, 10],
    );
    assert.equal(new Set(all.flatMap(texts)).size, 30);
  });

  test(`version ${protocolVersion}: a will is published when the connection breaks, into its stream too, and not after DISCONNECT`, async (t) => {
    const { connect, store } = await start(t);
    const reader = await connect({ protocolVersion });
    const received = inbox(reader);
    await reader.subscribeAsync("plant/#", { qos: 1 });
    const will = (payload: string) => ({
      protocolVersion,
      will: { topic: "plant/will", payload: Buffer.from(payload), qos: 1 as const, retain: true },
    });
    const polite = await connect(will("polite"));
    await polite.endAsync();
    const broken = await connect(will("broken"));
    broken.stream.destroy();
    await some(received, 1);
    assert.deepEqual(texts(received), ["broken"]);
    assert.deepEqual(store.bodies(), [{ value: "broken" }]);
    const late = await connect({ protocolVersion });
    const kept = inbox(late);
    await late.subscribeAsync("plant/#", { qos: 1 });
    await some(kept, 1);
    assert.equal(kept[0]?.packet.retain, true);
  });
}

test("MQTT 5: a delayed will waits, is taken back by a client that returns, and comes with the end of the session", async (t) => {
  const { connect5 } = await start(t);
  const reader = await connect5();
  const received = inbox(reader);
  await reader.subscribeAsync("will/#", { qos: 1 });
  const options = (clientId: string, willDelayInterval: number) => ({
    clientId,
    clean: false,
    properties: { sessionExpiryInterval: 600 },
    will: {
      topic: `will/${clientId}`,
      payload: Buffer.from(clientId),
      qos: 1 as const,
      retain: false,
      properties: { willDelayInterval },
    },
  });
  const returning = await connect5(options("returning", 300));
  returning.stream.destroy();
  const back = await connect5(options("returning", 300));
  const ended = await connect5(options("ended", 300));
  ended.stream.destroy();
  await connect5({ clientId: "ended", clean: true });
  const delayed = await connect5(options("delayed", 1));
  delayed.stream.destroy();
  await some(received, 2);
  assert.deepEqual(texts(received), ["ended", "delayed"]);
  assert.equal(back.connected, true);
});

test("I5: a subscriber's receive maximum and maximum packet size are kept; what does not fit waits or is left out", async (t) => {
  const { port, connect5 } = await start(t);
  const slow = await byHand(t, port, { properties: { receiveMaximum: 3, maximumPacketSize: 200 } });
  await slow.next("connack");
  slow.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "chat/#", qos: 2 }] });
  await slow.next("suback");
  const writer = await connect5();
  await writer.publishAsync("chat/large", "x".repeat(500), { qos: 1 });
  for (let i = 0; i < 8; i++) await writer.publishAsync("chat/a", String(i), { qos: 1 });
  const published = () => slow.packets.filter(({ cmd }) => cmd === "publish");
  await waitFor(() => published().length === 3, { what: "three messages" });
  for (let acknowledged = 0; acknowledged < 8; acknowledged++) {
    const messageId = published()[acknowledged]?.messageId ?? 0;
    slow.send({ cmd: "puback", messageId });
    const expected = Math.min(8, acknowledged + 4);
    await waitFor(() => published().length === expected, { what: `${expected} messages` });
  }
  assert.deepEqual(
    published().map((packet) => String(Object(packet).payload)),
    Array.from({ length: 8 }, (_, i) => String(i)),
  );
});

test(`I6: damaged MQTT 5 packets close their own connection and leave nothing behind (seed ${hostileSeed})`, async (t) => {
  const { port, connect5, store, ingest } = await start(t, {}, { stallTimeoutMs: 2000 });
  const random = seededRandom(hostileSeed);
  const bytes = (packet: Packet) => generate(packet, { protocolVersion: 5 });
  const properties = {
    topicAlias: 1,
    messageExpiryInterval: 5,
    contentType: "t",
    userProperties: { a: "1" },
  };
  const good = [
    bytes(publish({ properties })),
    bytes(publish({ qos: 2, messageId: 2, retain: true })),
    bytes({ cmd: "pubrel", messageId: 2, reasonCode: 0 }),
    bytes({
      cmd: "subscribe",
      messageId: 3,
      properties: { subscriptionIdentifier: 9 },
      subscriptions: [
        { topic: "plant/#", qos: 1, rh: 1, rap: true },
        { topic: "$share/g/+/+", qos: 2 },
      ],
    }),
    bytes({ cmd: "unsubscribe", messageId: 4, unsubscriptions: ["plant/#"] }),
    bytes({ cmd: "puback", messageId: 9, reasonCode: 0x10 }),
    bytes({ cmd: "pubrec", messageId: 9, reasonCode: 0 }),
    bytes({ cmd: "disconnect", reasonCode: 4, properties: { sessionExpiryInterval: 0 } }),
  ];
  for (let round = 0; round < 20; round++) {
    const sockets = Array.from({ length: 12 }, (_, i) => {
      const first = bytes({
        cmd: "connect",
        protocolId: "MQTT",
        protocolVersion: 5,
        clean: random.integer(2) === 0,
        clientId: `f${i % 8}`,
        keepalive: 0,
        properties: { sessionExpiryInterval: random.integer(3), receiveMaximum: 5 },
        will: { topic: "plant/will", payload: "{}", qos: 1, properties: { willDelayInterval: 1 } },
      });
      return sendDamaged(t, port, { first, good, random });
    });
    await Promise.all(sockets.map(closed));
  }
  const before = store.stored.length;
  assert.ok(before > 20, `${before} good packets were among them`);
  const client = await connect5();
  await client.publishAsync("streams/s", '{"alive":true}', { qos: 1 });
  assert.ok(store.stored.length > before);
  await waitFor(() => ingest.connections === 1, {
    what: `the damaged connections to be gone (seed ${hostileSeed})`,
    timeoutMs: 30_000,
  });
});

test("I21: time in which this process stood still is held against nobody; silence since is", async (t) => {
  const clock = createStallingClock();
  const { ingest, port, connect5, store } = await start(t, { clock });
  const client = await connect5({ keepalive: 60, reschedulePings: false });
  const { next, send } = await byHand(t, port, { clientId: "silent", keepalive: 60 });
  await next("connack");
  // It has begun a packet, and ends it when this side can read again.
  const slow = await byHand(t, port, { clientId: "slow" });
  await slow.next("connack");
  const packet = generate(publish({ payload: '{"slow":true}' }), { protocolVersion: 5 });
  slow.socket.write(packet.subarray(0, 9));
  await client.publishAsync("plant/a", "{}", { qos: 1 });
  await clock.advance(2_000);

  clock.stall(3_600_000);
  await clock.advance(2_000);
  assert.equal(ingest.connections, 3);
  slow.socket.write(packet.subarray(9));
  await slow.next("puback");
  await client.publishAsync("plant/a", "{}", { qos: 1 });
  assert.equal(store.stored.length, 3);

  await clock.advance(80_000);
  send({ cmd: "pingreq" });
  await next("pingresp");
  await clock.advance(12_000);
  await waitFor(() => !client.connected && ingest.connections === 2, {
    what: "who was silent to be left, and nobody else",
  });
});

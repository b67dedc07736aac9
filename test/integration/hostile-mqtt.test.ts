/** Hostile MQTT: malformed, out of order, slow, oversized, too many. */
import { strict as assert } from "node:assert";
import { test, type TestContext } from "node:test";
import { generate } from "mqtt-packet";
import type { MqttOptions } from "../../src/ingest/index.ts";
import { createRetained } from "../../src/ingest/mqtt/retained.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { closed, hostileSeed, rawSocket, sendDamaged } from "../support/hostile.ts";
import { connectPacket, publishPacket, subscribePacket } from "../support/ingest.ts";
import { startMqtt } from "../support/mqtt.ts";
import { waitFor } from "../support/wait.ts";

const streams = [{ name: "s", durability: { level: "local" }, mqttTopics: ["plant/#"] }] as const;

async function start(t: TestContext, options: MqttOptions = {}) {
  const broker = await startMqtt(
    t,
    {
      streams: () => streams,
      authenticate: async ({ username }) => ({ id: `spiffe://c.skerry/app/${username ?? "test"}` }),
    },
    options,
  );
  const metric = async (name: string) => {
    const line = (await broker.metrics.render()).split("\n").find((text) => text.startsWith(name));
    return Number(line?.slice(line.lastIndexOf(" ")) ?? 0);
  };
  const refusals = (reason: string) =>
    metric(`skerry_ingest_mqtt_refusals_total{reason="${reason}"}`);
  return { ...broker, metric, refusals };
}

const connected = async (t: TestContext, port: number, clientId: string) => {
  const socket = rawSocket(t, port);
  socket.write(connectPacket(clientId));
  await waitFor(() => socket.received().length >= 4, { what: "the CONNACK" });
  return socket;
};

test(`I6: damaged packets close their own connection and leave nothing behind (seed ${hostileSeed})`, async (t) => {
  const { port, connect, store, ingest, metric } = await start(t, { stallTimeoutMs: 5000 });
  const random = seededRandom(hostileSeed);
  const payload = Buffer.from('{"a":1}');
  const hello = (id: string) =>
    generate({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 4,
      clean: true,
      clientId: id,
      keepalive: 0,
      will: { topic: "plant/will", payload, qos: 1, retain: true },
    });
  const good = [
    generate({
      cmd: "publish",
      topic: "plant/a",
      payload,
      qos: 1,
      messageId: 1,
      dup: false,
      retain: true,
    }),
    generate({
      cmd: "publish",
      topic: "plant/a",
      payload,
      qos: 2,
      messageId: 2,
      dup: false,
      retain: false,
    }),
    generate({ cmd: "pubrel", messageId: 2 }),
    generate({
      cmd: "subscribe",
      messageId: 3,
      subscriptions: [
        { topic: "plant/#", qos: 1 },
        { topic: "+/+", qos: 2 },
      ],
    }),
    generate({ cmd: "unsubscribe", messageId: 4, unsubscriptions: ["plant/#"] }),
    generate({ cmd: "pingreq" }),
    generate({ cmd: "puback", messageId: 9 }),
    generate({ cmd: "disconnect" }),
  ];
  for (let round = 0; round < 25; round++) {
    const sockets = Array.from({ length: 12 }, (_, i) => {
      const first = hello(`f${round}-${i % 8}`);
      return sendDamaged(t, port, { first, good, random });
    });
    await Promise.all(sockets.map(closed));
  }
  const before = store.stored.length;
  assert.ok(before > 20, `${before} good packets were among them`);
  const client = await connect();
  await client.publishAsync("streams/s", '{"alive":true}', { qos: 1 });
  assert.ok(store.stored.length > before);
  await waitFor(() => ingest.connections === 1, {
    what: `the damaged connections to be gone (seed ${hostileSeed})`,
    timeoutMs: 30_000,
  });
  assert.equal(await metric("skerry_ingest_mqtt_partial_bytes"), 0);
});

test("I6: what MQTT 3.1.1 does not allow closes the connection, with a reason that is counted and shown", async (t) => {
  const { port, refusals, deadLetters } = await start(t);
  const hello = connectPacket("c");
  const text = (value: string) =>
    Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
  const publish = (topic: string, flags = 0x30) =>
    Buffer.concat([
      Buffer.from([flags, 2 + topic.length + 4]),
      text(topic),
      Buffer.from([0, 1, 0x7b, 0x7d]),
    ]);
  const cases: readonly (readonly [string, Buffer])[] = [
    ["publish before CONNECT", publishPacket("plant/a", "{}")],
    ["five bytes of length", Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x01])],
    [
      "another protocol",
      Buffer.concat([Buffer.from([0x10, 12]), text("HTTP"), Buffer.from([4, 2, 0, 0, 0, 0])]),
    ],
    ["a second CONNECT", Buffer.concat([hello, hello])],
    ["QoS 3", Buffer.concat([hello, publish("plant/a", 0x36)])],
    ["a wildcard in a topic", Buffer.concat([hello, publish("plant/#", 0x32)])],
    ["U+0000 in a topic", Buffer.concat([hello, publish("plant/\u0000", 0x32)])],
    ["a topic of the broker", Buffer.concat([hello, publish("$SYS/a", 0x32)])],
    ["too many levels", Buffer.concat([hello, publish("a/".repeat(40), 0x32)])],
    ["a reserved packet type", Buffer.concat([hello, Buffer.from([0xf0, 0])])],
  ];
  for (const [what, bytes] of cases) {
    const before = deadLetters.countByCode.get("invalid-packet") ?? 0;
    const socket = rawSocket(t, port);
    socket.write(bytes);
    await closed(socket);
    await waitFor(() => (deadLetters.countByCode.get("invalid-packet") ?? 0) === before + 1, {
      what,
    });
  }
  assert.equal(await refusals("invalid-packet"), cases.length);
});

test("I5: before a client is known it can make nothing large wait here; afterwards its packets do pass", async (t) => {
  const { port, deadLetters, store } = await start(t);
  const large = rawSocket(t, port);
  // CONNECT that claims 200 kB.
  large.write(Buffer.from([0x10, 0xc0, 0x9a, 0x0c]));
  await closed(large);
  assert.match(
    deadLetters.list()[0]?.message ?? "",
    /at most 32768 are taken before a client is known/,
  );
  const eager = rawSocket(t, port);
  const payload = JSON.stringify({ filler: "x".repeat(200_000) });
  const publish = { cmd: "publish", topic: "plant/a", qos: 1, dup: false, retain: false } as const;
  eager.write(
    Buffer.concat([
      connectPacket("eager"),
      ...[1, 2, 3].map((messageId) => generate({ ...publish, messageId, payload })),
      ...Array.from({ length: 1000 }, (_, i) =>
        generate({ ...publish, messageId: i + 4, payload: "{}" }),
      ),
    ]),
  );
  await waitFor(() => store.stored.length === 1003, { what: "what was sent without waiting" });
});

test("I5: wills, client identifiers and topics are bounded; who waits in CONNACK is told by its code", async (t) => {
  const { connect, port, refusals } = await start(t);
  await assert.rejects(connect({ clientId: "x".repeat(300) }), /Identifier rejected/);
  const will = (topic: string, bytes: number) => ({
    will: { topic, payload: "x".repeat(bytes), qos: 1 as const },
  });
  for (const more of [will("plant/a", 20_000), will("plant/#", 1), will("$SYS/a", 1)]) {
    const socket = rawSocket(t, port);
    const { topic, payload } = more.will;
    socket.write(
      generate({
        cmd: "connect",
        protocolId: "MQTT",
        protocolVersion: 4,
        clean: true,
        clientId: "w",
        keepalive: 0,
        will: { topic, payload: Buffer.from(payload), qos: 1, retain: false },
      }),
    );
    await closed(socket);
    assert.equal(socket.received(), "", "the connection is refused");
  }
  assert.equal(await refusals("client-id-refused"), 1);
  assert.equal(await refusals("message-too-large"), 1);
  assert.equal(await refusals("invalid-packet"), 2);
});

test("I12: nobody takes over another identity's session by its client identifier", async (t) => {
  const { connect } = await start(t);
  const owner = await connect({ clientId: "pump", username: "a" });
  await assert.rejects(connect({ clientId: "pump", username: "b" }), /Identifier rejected/);
  assert.equal(owner.connected, true);
  const again = await connect({ clientId: "pump", username: "a" });
  await waitFor(() => !owner.connected, { what: "the first session to end for its own second" });
  await again.endAsync();
  await waitFor(
    async () =>
      (await connect({ clientId: "pump", username: "b" }).catch(() => undefined)) !== undefined,
    { what: "the identifier to be free" },
  );
});

test("I5: thousands of subscriptions are refused one by one in the SUBACK; giving up some makes room", async (t) => {
  const { connect, refusals } = await start(t);
  const client = await connect();
  const granted: number[] = [];
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "suback") granted.push(...(packet.granted as number[]));
  });
  const topics = Array.from({ length: 3000 }, (_, i) => `t/${i}`);
  await client.subscribeAsync(topics, { qos: 1 }).catch(() => undefined);
  assert.equal(granted.filter((code) => code === 1).length, 128);
  assert.equal(granted.filter((code) => code === 128).length, 2872);
  assert.equal(await refusals("subscription-refused"), 2872);
  for (let i = 0; i < 5; i++) await client.subscribeAsync("t/0", { qos: 1 });
  await client.unsubscribeAsync(["t/1", "t/2"]);
  granted.length = 0;
  await client.subscribeAsync(["u/1", "u/2"], { qos: 1 });
  assert.deepEqual(granted, [1, 1]);
});

test("I5: a packet that does not come to its end, and a reader that reads nothing, are closed; others go on", async (t) => {
  // More than a machine stands still: the writer, whose packets come in pieces, is not to blame.
  const { port, connect, store, refusals, metric } = await start(t, { stallTimeoutMs: 5000 });
  const writer = await connect();
  const stalled = await connected(t, port, "stalled");
  // 100,000 bytes are announced, and some of them sent.
  stalled.write(Buffer.concat([Buffer.from([0x32, 0xa0, 0x8d, 0x06]), Buffer.alloc(5000, 0x61)]));
  await waitFor(async () => (await metric("skerry_ingest_mqtt_partial_bytes")) > 5000, {
    what: "the unfinished packet to be counted",
  });
  const reader = await connected(t, port, "reader");
  reader.write(subscribePacket("plant/#"));
  await waitFor(() => reader.received().length >= 9, { what: "the SUBACK" });
  reader.pause();
  const payload = JSON.stringify({ filler: "x".repeat(100_000) });
  const goneBoth = Promise.all([
    closed(stalled),
    waitFor(async () => (await refusals("client-too-slow")) === 2, {
      what: "both to be closed",
      timeoutMs: 30_000,
    }),
  ]);
  for (let i = 0; i < 120; i++) await writer.publishAsync("plant/a", payload, { qos: 1 });
  await goneBoth;
  assert.equal(store.stored.length, 120);
  await writer.publishAsync("plant/a", "{}", { qos: 1 });
  assert.equal(await metric("skerry_ingest_mqtt_partial_bytes"), 0);
});

test("I5: half-open QoS 2 messages keep no payload, and only so many", async (t) => {
  const { port, refusals, store } = await start(t);
  const socket = await connected(t, port, "half-open");
  const payload = Buffer.from(JSON.stringify({ filler: "x".repeat(2000) }));
  for (let messageId = 1; messageId <= 600; messageId++)
    socket.write(
      generate({
        cmd: "publish",
        topic: "plant/a",
        payload,
        qos: 2,
        messageId,
        dup: false,
        retain: false,
      }),
    );
  await closed(socket);
  assert.ok((await refusals("half-open-qos2")) >= 1);
  assert.ok(store.stored.length >= 512);
});

test("I5: what is retained is bounded in topics and bytes, and replacing gives back", () => {
  const retained = createRetained({ topicsMax: 3, bytesMax: 100 });
  const keep = (topic: string, bytes: number) => {
    const payload = Buffer.alloc(bytes, "x");
    return retained.keep({ topic, retain: true, payload, qos: 0, from: "c" }) === "kept";
  };
  assert.equal(keep("a", 50), true);
  assert.equal(keep("b", 60), false);
  assert.equal(keep("a", 20), true);
  assert.equal(keep("b", 60), true);
  assert.equal(keep("c", 5), true);
  assert.equal(keep("d", 1), false);
  assert.equal(retained.bytes, 21 + 61 + 6);
  for (const topic of ["a", "b", "c"]) keep(topic, 0);
  assert.equal(retained.bytes, 0);
});

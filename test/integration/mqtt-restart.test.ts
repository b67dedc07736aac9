/** What of MQTT outlives the agent: sessions, messages on their way, retained messages. */
import { strict as assert } from "node:assert";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { connect, connectAsync, type MqttClient } from "mqtt";
import type { IConnackPacket, IPubcompPacket } from "mqtt-packet";
import {
  openMqttState,
  type MqttStateStore,
  type SavedState,
} from "../../src/ingest/mqtt-state/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { byHand, publish } from "../support/mqtt5.ts";
import { startMqtt } from "../support/mqtt.ts";
import { waitFor } from "../support/wait.ts";

const patient = { timeoutMs: 50_000 };

function stateFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "skerry-mqtt-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "mqtt.db");
}

async function startProcess(t: TestContext, path: string, port = 0) {
  const child: ChildProcess = fork(join(import.meta.dirname, "../support/mqtt-server.entry.ts"), [
    path,
    String(port),
  ]);
  t.after(() => child.kill("SIGKILL"));
  const [listening] = (await once(child, "message")) as [number];
  const kill = async () => {
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  return { port: listening, kill };
}

/** How often each text came. */
function countOf(client: MqttClient): Map<string, number> {
  const counts = new Map<string, number>();
  client.on("message", (_topic, payload) =>
    counts.set(payload.toString(), (counts.get(payload.toString()) ?? 0) + 1),
  );
  return counts;
}

test("I18: killed under load twice, no acknowledged message is lost, none of QoS 2 comes twice, and sessions are there", async (t) => {
  const path = stateFile(t);
  let server = await startProcess(t, path);
  const { port } = server;
  const client = (clientId: string) => {
    const made = connect(`mqtt://127.0.0.1:${port}`, {
      ...{ clientId, clean: false, reconnectPeriod: 50, connectTimeout: 30_000 },
      ...{ protocolVersion: 5, properties: { sessionExpiryInterval: 600 } },
    });
    t.after(() => made.endAsync(true));
    made.on("error", () => {});
    return made;
  };
  const reader = client("reader");
  const present: boolean[] = [];
  reader.on("connect", ({ sessionPresent }) => present.push(sessionPresent));
  const received = countOf(reader);
  await reader.subscribeAsync("load/#", { qos: 2 });
  // Away all the time: what it gets in the end has been on disk.
  const leaving = client("away");
  await leaving.subscribeAsync("load/#", { qos: 2 });
  await leaving.endAsync();
  const writer = client("writer");
  const acknowledged = new Set<string>();
  const publishing: Promise<unknown>[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 40; i++) {
      const qos = i % 2 === 0 ? 1 : 2;
      const text = `${qos} ${round} ${i}`;
      publishing.push(
        writer.publishAsync(`load/${qos}`, text, { qos }).then(() => acknowledged.add(text)),
      );
    }
    // In the middle of it: some are acknowledged, some on their way.
    const some = round * 40 + 10 + 7 * round;
    await waitFor(() => acknowledged.size >= some, { what: `${some} messages`, ...patient });
    if (round === 2) break;
    await server.kill();
    server = await startProcess(t, path, port);
  }
  await Promise.all(publishing);
  assert.equal(acknowledged.size, 120);
  const receivedLate = countOf(client("away"));
  for (const counts of [received, receivedLate]) {
    const missing = () => [...acknowledged].filter((text) => !counts.has(text));
    await waitFor(() => missing().length === 0, { what: "all that was acknowledged", ...patient });
    const twice = [...counts].filter(([text, times]) => text.startsWith("2") && times > 1);
    assert.deepEqual(twice, []);
  }
  assert.deepEqual(present.slice(0, 1), [false]);
  assert.ok(present.slice(1).every(Boolean), "each time the session was there");
});

test("I18: what was sent to a client that is away, subscriptions, and retained messages outlive a kill", async (t) => {
  const path = stateFile(t);
  const first = await startProcess(t, path);
  const at = (port: number, more: object) =>
    connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...more });
  const away = { clientId: "away", clean: false };
  const subscriber = await at(first.port, away);
  await subscriber.subscribeAsync(["kept/+", "given-up"], { qos: 1 });
  await subscriber.unsubscribeAsync("given-up");
  await subscriber.endAsync();
  const writer = await at(first.port, { protocolVersion: 5 });
  t.after(() => writer.endAsync(true));
  writer.on("error", () => {});
  await writer.publishAsync("kept/a", "waits", {
    qos: 1,
    properties: { contentType: "text/plain", correlationData: Buffer.from([7]) },
  });
  await writer.publishAsync("given-up", "for nobody", { qos: 1 });
  await writer.publishAsync("state/a", "on", { qos: 1, retain: true });
  await writer.publishAsync("state/b", "off", { qos: 1, retain: true });
  await writer.publishAsync("state/b", "", { qos: 1, retain: true });
  await first.kill();

  const second = await startProcess(t, path);
  const again = connect(`mqtt://127.0.0.1:${second.port}`, { ...away, reconnectPeriod: 0 });
  t.after(() => again.endAsync(true));
  const received: string[] = [];
  again.on("message", (topic, payload) => received.push(`${topic} ${payload.toString()}`));
  const isPresent = new Promise((resolve) =>
    again.once("connect", ({ sessionPresent }) => resolve(sessionPresent)),
  );
  assert.equal(await isPresent, true);
  await waitFor(() => received.length === 1, { what: "what waited", ...patient });
  await again.subscribeAsync("state/#", { qos: 1 });
  await waitFor(() => received.length === 2, { what: "the retained message", ...patient });
  assert.deepEqual(received, ["kept/a waits", "state/a on"]);
});

const nothing: SavedState = { sessions: [], flights: [], received: [], retained: [], wills: [] };

test("I18: a PUBREL sent again, since its PUBCOMP was lost with the agent, is answered with success", async (t) => {
  const path = stateFile(t);
  const first = await startProcess(t, path);
  const kept = { clientId: "kept", clean: false, properties: { sessionExpiryInterval: 600 } };
  const before = await byHand(t, first.port, kept);
  await before.next("connack");
  before.send(publish({ qos: 2, messageId: 7 }));
  await before.next("pubrec");
  before.send({ cmd: "pubrel", messageId: 7 });
  await before.next("pubcomp");
  await first.kill();
  const second = await startProcess(t, path);
  const after = await byHand(t, second.port, kept);
  after.send({ cmd: "pubrel", messageId: 7 });
  const { reasonCode } = (await after.next("pubcomp")) as IPubcompPacket;
  assert.equal(reasonCode ?? 0, 0);
  const { sessionPresent } = (await after.next("connack")) as IConnackPacket;
  assert.equal(sessionPresent, true);
});

test("I18: what cannot be written down is not acknowledged, and does not come back", async (t) => {
  let failure: SkerryError | undefined;
  const path = stateFile(t);
  const file = openMqttState({ log: silentLog }, { path });
  t.after(() => file.close());
  const state: MqttStateStore = {
    load: async () => nothing,
    apply: (batch) => (failure ? Promise.reject(failure) : file.apply(batch)),
  };
  const { connect: connectTo } = await startMqtt(t, {
    streams: () => [],
    authenticate: async () => ({ id: "spiffe://c.skerry/app/test" }),
    state,
  });
  const session = { properties: { sessionExpiryInterval: 600 }, protocolVersion: 5 } as const;
  const reader = await connectTo({ ...session, clientId: "reader", clean: false });
  let received = 0;
  reader.on("message", () => received++);
  await reader.subscribeAsync("a", { qos: 1 });
  const writer = await connectTo({ protocolVersion: 5 });
  await writer.publishAsync("a", "1", { qos: 1 });
  await waitFor(() => received === 1, { what: "the first message", ...patient });
  failure = new SkerryError({ code: "disk-full", message: "no room" });
  await assert.rejects(writer.publishAsync("a", "2", { qos: 1 }), { code: 0x97 });
  await waitFor(() => received === 2, { what: "the second message", ...patient });
  await assert.rejects(connectTo({ ...session, clientId: "late", clean: false }));
  failure = undefined;
  await writer.publishAsync("a", "3", { qos: 1 });
  await waitFor(() => received === 3, { what: "the third message", ...patient });
  await waitFor(async () => (await file.load()).flights.length === 0, {
    what: "what was delivered to be forgotten on disk",
    ...patient,
  });
  assert.deepEqual(
    (await file.load()).sessions.map(({ id, subscriptions }) => [id, subscriptions.length]),
    [["reader", 1]],
  );
});

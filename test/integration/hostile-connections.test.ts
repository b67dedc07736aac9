/** 5,000 open connections: bounded, told so, others served meanwhile, all memory given back. */
import { strict as assert } from "node:assert";
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { connectAsync } from "mqtt";
import { generate } from "mqtt-packet";
import type { HostileServerAnswer, HostileServerReady } from "../support/hostile-server.entry.ts";
import { waitFor } from "../support/wait.ts";

const wanted = 5000;
const patient = { timeoutMs: 50_000 };

/** As many as this machine lets one process open: Node has raised its soft limit to the hard one. */
function connectionsHere(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const open = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(wanted, open - 200);
}

async function start(t: TestContext, connectionsMax: number) {
  const child = fork(
    join(import.meta.dirname, "../support/hostile-server.entry.ts"),
    [String(connectionsMax)],
    { execArgv: ["--expose-gc"] },
  );
  t.after(() => child.kill());
  const gone = once(child, "exit").then(([code]) => {
    throw new Error(`the server ended with ${code}`);
  });
  gone.catch(() => {});
  const message = async () => (await Promise.race([once(child, "message"), gone])) as [unknown];
  const [ports] = (await message()) as [HostileServerReady];
  const ask = async (what = "state") => {
    child.send(what);
    const [answer] = (await message()) as [HostileServerAnswer];
    const lines = answer.metrics.split("\n");
    const numberOf = (line: string) => Number(line.slice(line.lastIndexOf(" ")));
    const all = (name: string) => lines.filter((line) => line.startsWith(name)).map(numberOf);
    const sum = (name: string) => all(name).reduce((total, number) => total + number, 0);
    return { value: (name: string) => all(name)[0] ?? 0, sum, rssBytes: answer.rssBytes };
  };
  return { ports, ask };
}

type Opened = { readonly socket: Socket; received: Buffer; closed: boolean };

const connack = (code: number) => Buffer.from([0x20, 2, 0, code]);

/** Opened 250 at a time, since a listener's backlog is 511. */
async function openMany(
  t: TestContext,
  port: number,
  count: number,
  first?: (i: number) => Buffer,
) {
  const sockets: Opened[] = [];
  const counts = { closed: 0, connected: 0 };
  const destroy = () => {
    for (const { socket } of sockets) socket.destroy();
  };
  t.after(destroy);
  const open = async (i: number) => {
    const one: Opened = {
      socket: connect(port, "127.0.0.1"),
      received: Buffer.alloc(0),
      closed: false,
    };
    sockets.push(one);
    one.socket.on("error", () => {});
    one.socket.on("close", () => {
      one.closed = true;
      counts.closed++;
    });
    one.socket.on("data", (chunk: Buffer) => {
      one.received = Buffer.concat([one.received, chunk]);
      if (one.received.equals(connack(0))) counts.connected++;
    });
    await new Promise<void>((resolve) => {
      one.socket.once("connect", resolve);
      one.socket.once("close", () => resolve());
    });
    if (first) one.socket.write(first(i));
  };
  for (let i = 0; i < count; i += 250)
    await Promise.all(Array.from({ length: Math.min(250, count - i) }, (_, k) => open(i + k)));
  return { sockets, counts, destroy };
}

const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`;

test("G8: 5,000 idle connections to the gateway: those over the limit close the oldest, others are served, all is given back", async (t) => {
  const count = connectionsHere();
  const max = Math.floor(count * 0.9);
  const { ports, ask } = await start(t, max);
  const before = await ask("garbage");
  const { sockets, counts, destroy } = await openMany(t, ports.gateway, count);
  const post = async () => {
    const answer = await fetch(`http://127.0.0.1:${ports.gateway}/v1/streams/s/entries`, {
      method: "POST",
      headers: { authorization: "Bearer t", "content-type": "application/x-ndjson" },
      body: "{}",
    });
    assert.equal(answer.status, 200);
    await answer.text();
  };
  await post();
  const full = await ask("garbage");
  assert.equal(full.value("skerry_gateway_connections"), max);
  const refused = full.value('skerry_gateway_refusals_total{reason="idle-closed"}');
  assert.equal(refused, count - max + 1);
  await waitFor(() => counts.closed === refused, {
    what: "those that gave way to know it",
    ...patient,
  });
  assert.ok(
    sockets.slice(0, count - max).every(({ closed }) => closed),
    "the oldest gave way",
  );
  destroy();
  await waitFor(async () => (await ask()).value("skerry_gateway_connections") <= 1, {
    what: "the places to be free",
    ...patient,
  });
  await post();
  const after = await ask("garbage");
  t.diagnostic(
    `${count} connections: ${kib((full.rssBytes - before.rssBytes) / max)} each at most; ` +
      `resident ${kib(before.rssBytes)} before, ${kib(full.rssBytes)} full, ${kib(after.rssBytes)} after`,
  );
});

test("I5: 5,000 MQTT clients: up to the limit they are connected, the rest get CONNACK 3, others are served, all is given back", async (t) => {
  const count = connectionsHere();
  const max = Math.floor(count * 0.9);
  const { ports, ask } = await start(t, max);
  const before = await ask("garbage");
  // Who is known keeps its place, whoever else comes.
  const steady = await connectAsync(`mqtt://127.0.0.1:${ports.mqtt}`, { reconnectPeriod: 0 });
  t.after(() => steady.endAsync(true));
  const hello = (i: number) =>
    generate({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 4,
      clean: true,
      keepalive: 0,
      clientId: `c${i}`,
    });
  const { counts, destroy } = await openMany(t, ports.mqtt, count, hello);
  await steady.publishAsync("streams/s", "{}", { qos: 1 });
  await waitFor(() => counts.connected === max - 1, {
    what: "the clients to be connected",
    ...patient,
  });
  await waitFor(() => counts.closed === count - max + 1, {
    what: "the refused to be closed",
    ...patient,
  });
  // All places are taken by clients that are known: the next one is told.
  const [late] = (await openMany(t, ports.mqtt, 1, () => hello(count))).sockets;
  await waitFor(() => late?.closed, { what: "the late client to be closed", ...patient });
  assert.deepEqual(late?.received, connack(3));
  const full = await ask("garbage");
  assert.equal(full.value("skerry_ingest_mqtt_connections"), max);
  assert.equal(full.sum("skerry_ingest_mqtt_refusals_total{"), count - max + 2);
  await steady.publishAsync("streams/s", "{}", { qos: 1 });
  destroy();
  await waitFor(async () => (await ask()).value("skerry_ingest_mqtt_connections") === 1, {
    what: "the places to be free",
    ...patient,
  });
  const after = await ask("garbage");
  t.diagnostic(
    `${count} clients: ${kib((full.rssBytes - before.rssBytes) / max)} each; ` +
      `resident ${kib(before.rssBytes)} before, ${kib(full.rssBytes)} full, ${kib(after.rssBytes)} after`,
  );
});

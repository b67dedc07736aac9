/** MQTT 5 packet by packet, for what no client library would send. */
import type { TestContext } from "node:test";
import { generate, parser, type IPublishPacket, type Packet } from "mqtt-packet";
import { rawSocket } from "./hostile.ts";
import { waitFor } from "./wait.ts";

/** MQTT 5 by hand: packets out, packets in. */
export async function byHand(t: TestContext, port: number, connect: object = {}) {
  const socket = rawSocket(t, port);
  const packets: Packet[] = [];
  const parse = parser({ protocolVersion: 5 });
  parse.on("packet", (packet) => packets.push(packet));
  socket.on("data", (chunk) => parse.parse(chunk));
  const send = (packet: Packet) => socket.write(generate(packet, { protocolVersion: 5 }));
  send({
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 5,
    clean: true,
    clientId: "by-hand",
    keepalive: 0,
    ...connect,
  });
  const next = (cmd: Packet["cmd"]) =>
    waitFor(() => packets.find((packet) => packet.cmd === cmd), { what: cmd, timeoutMs: 30_000 });
  return { socket, packets, send, next };
}

/** On a topic of a stream, QoS 1 unless said otherwise. */
export const publish = (more: Partial<IPublishPacket>): IPublishPacket => ({
  cmd: "publish",
  topic: "plant/a",
  payload: "{}",
  qos: 1,
  messageId: 1,
  dup: false,
  retain: false,
  ...more,
});

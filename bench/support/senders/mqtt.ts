/**
 * A publisher of MQTT 3.1.1 at QoS 1 that does no more than the bench needs: packets are cut from a
 * template, acknowledgements are matched by packet identifier. The same for Skerry and Mosquitto.
 */
import type { TLSSocket } from "node:tls";
import type { OpenSender, SenderEvents } from "../load.ts";
import { payload } from "./payload.ts";
import { dial, secure, type Endpoint } from "./tls.ts";

/** Clients that publish side by side. */
const connections = 8;

export type MqttOptions = {
  readonly topic: string;
  /** What the entry with this number weighs in with; the same bytes for all when absent. */
  readonly body?: (client: number) => Buffer;
};

export const mqttSender =
  (endpoint: Endpoint, options: MqttOptions): OpenSender =>
  async (events) => {
    const clients = await Promise.all(
      Array.from({ length: connections }, (_, index) =>
        openClient(endpoint, options, index, events),
      ),
    );
    let turn = 0;
    return {
      groupEntries: 1,
      send(first, count) {
        // Whole shares, so that each client writes to its socket once.
        const share = Math.ceil(count / connections);
        for (let start = 0; start < count; start += share)
          clients[turn++ % connections]?.publish(first + start, Math.min(share, count - start));
      },
      async close() {
        for (const client of clients) client.close();
      },
    };
  };

async function openClient(
  endpoint: Endpoint,
  { topic, body = () => payload }: MqttOptions,
  index: number,
  events: SenderEvents,
) {
  const socket = await secure(await dial(endpoint), endpoint);
  const entryById = new Map<number, number>();
  let nextId = 0;
  let closed = false;
  const fail = (error: Error) => {
    if (!closed) events.failed(error);
  };
  const connected = Promise.withResolvers<void>();
  onPackets(socket, (type, packet) => {
    if (type === 2) {
      if (packet[1] === 0) connected.resolve();
      else connected.reject(new Error(`CONNACK with code ${packet[1]}`));
    } else if (type === 4) {
      const id = packet.readUInt16BE(0);
      const entry = entryById.get(id);
      entryById.delete(id);
      if (entry !== undefined) events.acked(entry, 1);
    }
  });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error(`${endpoint.host}: the broker closed the connection`)));
  socket.write(connectPacket(`bench-${process.pid}-${index}`));
  await connected.promise;
  return {
    publish(first: number, count: number) {
      const packets: Buffer[] = [];
      for (let entry = first; entry < first + count; entry++) {
        do nextId = (nextId % 65_535) + 1;
        while (entryById.has(nextId));
        entryById.set(nextId, entry);
        packets.push(publishPacket(topic, nextId, body(index)));
      }
      socket.write(Buffer.concat(packets));
    },
    close() {
      closed = true;
      socket.destroy();
    },
  };
}

/** A session that stays when it is closed and wants every message: what a broker must keep for it. */
export async function leaveSubscription(endpoint: Endpoint, topic: string): Promise<void> {
  const socket = await secure(await dial(endpoint), endpoint);
  const subscribed = Promise.withResolvers<void>();
  socket.on("error", subscribed.reject);
  onPackets(socket, (type) => {
    if (type === 2) socket.write(frame(0x82, [Buffer.from([0, 1]), text(topic), Buffer.from([1])]));
    if (type === 9) subscribed.resolve();
  });
  socket.write(connectPacket("bench-subscriber", { clean: false }));
  await subscribed.promise;
  socket.end(Buffer.from([0xe0, 0]));
}

function onPackets(socket: TLSSocket, take: (type: number, packet: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    // What a broker sends to a publisher is short: one byte of length (section 2.2.3).
    while (bytes.length - at >= 2 && bytes.length - at >= 2 + (bytes[at + 1] ?? 0)) {
      const end = at + 2 + (bytes[at + 1] ?? 0);
      take((bytes[at] ?? 0) >> 4, bytes.subarray(at + 2, end));
      at = end;
    }
    rest = bytes.subarray(at);
  });
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function frame(head: number, parts: readonly Uint8Array[]): Buffer {
  let length = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const lead = [head];
  do {
    const more = length > 127;
    lead.push((length % 128) | (more ? 0x80 : 0));
    length = Math.floor(length / 128);
  } while (length > 0);
  return Buffer.concat([Buffer.from(lead), ...parts]);
}

function connectPacket(clientId: string, { clean } = { clean: true }): Buffer {
  const variable = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, clean ? 2 : 0, 0, 0]);
  return frame(0x10, [variable, text(clientId)]);
}

const publishPacket = (topic: string, id: number, body: Buffer): Buffer =>
  frame(0x32, [text(topic), Buffer.from([id >> 8, id & 0xff]), body]);

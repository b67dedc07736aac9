/** A message on its way through the broker, and its bytes for a subscriber. */
import type { IPublishPacket } from "mqtt-packet";
import { generate } from "./packets.ts";
import type { MessageProperties, ProtocolVersion, Qos } from "./codec.ts";

export type Message = {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties?: MessageProperties;
  /** What the properties take, roughly; absent for none. */
  readonly propertyBytes?: number;
  /** On the monotonic clock: not passed on after it (MQTT 5, section 3.3.2.3.3). */
  readonly expiresAtMs?: number;
  /** The client that published it, for subscribers that want nothing of their own. */
  readonly from: string;
};

/** A message as one subscriber gets it. */
export type Outgoing = {
  readonly message: Message;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Subscription identifiers. */
  readonly identifiers?: readonly number[];
};

/** Beside what was sent: objects and maps, roughly. */
const messageCost = 256;

/** What was sent of a message, in bytes. */
export const sizeOf = ({ topic, payload, propertyBytes = 0 }: Message): number =>
  topic.length + payload.length + propertyBytes;

export const costOf = ({ message }: Outgoing): number => sizeOf(message) + messageCost;

export interface Encoder {
  /** Undefined: it expired. */
  encode(
    version: ProtocolVersion,
    outgoing: Outgoing,
    more: { readonly messageId: number; readonly dup: boolean; readonly nowMs: number },
  ): Buffer | undefined;
}

/**
 * Encodes; the bytes of the message that came last are kept, since it is mostly the same message for
 * many subscribers, with another packet identifier.
 */
export function createEncoder(): Encoder {
  let last: { outgoing: Outgoing; version: ProtocolVersion; bytes: Buffer } | undefined;
  return {
    encode(version, outgoing, { messageId, dup, nowMs }) {
      const { message, qos, retain, identifiers } = outgoing;
      const leftMs = message.expiresAtMs === undefined ? undefined : message.expiresAtMs - nowMs;
      if (leftMs !== undefined && leftMs <= 0) return undefined;
      if (
        last?.outgoing.message === message &&
        last.version === version &&
        last.outgoing.qos === qos &&
        last.outgoing.retain === retain &&
        !identifiers &&
        !dup
      )
        return qos === 0 ? last.bytes : withIdentifier(last.bytes, message, messageId);
      const packet: IPublishPacket = {
        cmd: "publish",
        topic: message.topic,
        payload: message.payload,
        qos,
        retain,
        dup,
        ...(qos === 0 ? {} : { messageId }),
      };
      if (version === 5 && (message.properties || identifiers || leftMs !== undefined)) {
        packet.properties = {
          ...message.properties,
          ...(leftMs === undefined ? {} : { messageExpiryInterval: Math.ceil(leftMs / 1000) }),
          ...(identifiers ? { subscriptionIdentifier: [...identifiers] } : {}),
        };
      }
      const bytes = generate(packet, { protocolVersion: version });
      if (!identifiers && !dup && leftMs === undefined) last = { outgoing, version, bytes };
      return bytes;
    },
  };
}

/** A copy with another packet identifier, which stands behind the topic. */
function withIdentifier(bytes: Buffer, message: Message, messageId: number): Buffer {
  const copy = Buffer.from(bytes);
  let at = 2;
  while ((copy[at - 1] ?? 0) & 0x80) at++;
  copy.writeUInt16BE(messageId, at + 2 + Buffer.byteLength(message.topic));
  return copy;
}

/**
 * MQTT packets by `mqtt-packet`, which is given exactly one whole packet at a time: its own buffering
 * reads past the end of short packets, and a parser that holds nothing can be shared by all
 * connections. What it lets through and the specification forbids (packet identifier 0, empty
 * subscriptions, properties given twice, packets that only a server sends) is refused here.
 */
import type { IConnectPacket, IDisconnectPacket, Packet, Parser } from "mqtt-packet";
import { parser } from "./packets.ts";
import { reason } from "./reason-codes.ts";

/** 3 is MQTT 3.1, which differs from 3.1.1 (4) in CONNECT only. */
export type ProtocolVersion = 3 | 4 | 5;
export type Qos = 0 | 1 | 2;

/** What of a PUBLISH goes on to its subscribers unchanged (MQTT 5, section 3.3.2.3). */
export type MessageProperties = {
  payloadFormatIndicator?: boolean;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Buffer;
  userProperties?: Record<string, string | string[]>;
};

export type Connect = IConnectPacket & { readonly protocolVersion: ProtocolVersion };
export type Publish = {
  readonly cmd: "publish";
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  /** 0 at QoS 0. */
  readonly messageId: number;
  readonly alias?: number;
  readonly expirySeconds?: number;
  readonly properties?: MessageProperties;
};
export type Acknowledgement = {
  readonly cmd: "puback" | "pubrec" | "pubrel" | "pubcomp";
  readonly messageId: number;
  readonly reasonCode: number;
};
export type Subscribe = {
  readonly cmd: "subscribe";
  readonly messageId: number;
  readonly identifier?: number;
  readonly subscriptions: readonly {
    readonly topic: string;
    readonly qos: Qos;
    readonly nl?: boolean;
    readonly rap?: boolean;
    readonly rh?: number;
  }[];
};
export type Unsubscribe = {
  readonly cmd: "unsubscribe";
  readonly messageId: number;
  readonly unsubscriptions: readonly string[];
};
export type Incoming =
  | (Connect & { readonly cmd: "connect" })
  | Publish
  | Acknowledgement
  | Subscribe
  | Unsubscribe
  | IDisconnectPacket
  | { readonly cmd: "pingreq" };

export type Decoded =
  | { readonly ok: true; readonly packet: Incoming }
  /** `reasonCode` is MQTT 5's. */
  | { readonly ok: false; readonly reasonCode: number; readonly message: string };

export interface Codec {
  /** One whole packet; `version` is undefined for the first one of a connection. */
  decode(frame: Buffer, version: ProtocolVersion | undefined): Decoded;
}

class PacketProblem extends Error {
  readonly reasonCode: number;
  constructor(message: string, reasonCode: number = reason.protocolError) {
    super(message);
    this.reasonCode = reasonCode;
  }
}

export function createCodec(): Codec {
  const first = createReader(4);
  const readerByVersion = { 3: createReader(4), 4: createReader(4), 5: createReader(5) };
  return {
    decode(frame, version) {
      const usual = usualPacket(frame, version);
      if (usual) return { ok: true, packet: usual };
      try {
        const packet = (version === undefined ? first : readerByVersion[version]).read(frame);
        return { ok: true, packet: checked(packet, version) };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (error instanceof PacketProblem)
          return { ok: false, reasonCode: error.reasonCode, message };
        const code = message === "Invalid protocol version" ? "unsupportedVersion" : "malformed";
        return { ok: false, reasonCode: reason[code], message };
      }
    },
  };
}

/** The two that nearly all packets are, by hand; undefined for everything else. */
const usualPacket = (frame: Buffer, version: ProtocolVersion | undefined) =>
  (frame[0] ?? 0) >> 4 === 3 && version !== undefined
    ? plainPublish(frame, version)
    : shortAcknowledgement(frame);

/** PUBLISH without properties at QoS 0 or 1, sent for the first time. */
function plainPublish(frame: Buffer, version: ProtocolVersion): Publish | undefined {
  const header = frame[0] ?? 0;
  const qos = (header >> 1) & 3;
  if (qos > 1 || header & 8) return undefined;
  let at = 2;
  while ((frame[at - 1] ?? 0) & 0x80) at++;
  if (frame.length < at + 2) return undefined;
  const topicEnd = at + 2 + frame.readUInt16BE(at);
  let bodyStart = topicEnd + (qos === 0 ? 0 : 2);
  if (version === 5 && frame[bodyStart++] !== 0) return undefined;
  if (frame.length < bodyStart) return undefined;
  const messageId = qos === 0 ? 0 : frame.readUInt16BE(topicEnd);
  if (qos === 1 && messageId === 0) return undefined;
  return {
    cmd: "publish",
    topic: frame.toString("utf8", at + 2, topicEnd),
    payload: frame.subarray(bodyStart),
    qos: qos === 0 ? 0 : 1,
    retain: (header & 1) !== 0,
    dup: false,
    messageId,
  };
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP without more than their identifier. */
function shortAcknowledgement(frame: Buffer): Acknowledgement | undefined {
  if (frame.length !== 4 || frame[1] !== 2) return undefined;
  const cmd = commandByHeader[frame[0] ?? 0];
  const messageId = frame.readUInt16BE(2);
  return cmd && messageId > 0 ? { cmd, messageId, reasonCode: 0 } : undefined;
}

const commandByHeader: Readonly<Record<number, Acknowledgement["cmd"]>> = {
  0x40: "puback",
  0x50: "pubrec",
  0x62: "pubrel",
  0x70: "pubcomp",
};

function createReader(protocolVersion: 4 | 5) {
  const state: { packet?: Packet | undefined; failure?: Error | undefined } = {};
  const open = (): Parser => {
    const fresh = parser({ protocolVersion });
    fresh.on("packet", (packet) => (state.packet = packet));
    fresh.on("error", (error: Error) => (state.failure = error));
    return fresh;
  };
  let current = open();
  return {
    read(frame: Buffer): Packet {
      state.packet = undefined as Packet | undefined;
      state.failure = undefined as Error | undefined;
      let left = -1;
      try {
        left = current.parse(frame);
      } finally {
        // It keeps what it did not understand, and a CONNECT (with its password) as its settings.
        if (left !== 0 || state.failure || state.packet?.cmd === "connect") current = open();
      }
      if (state.failure) throw state.failure;
      if (!state.packet)
        throw new PacketProblem("the packet ends before its time", reason.malformed);
      return state.packet;
    },
  };
}

function checked(packet: Packet, version: ProtocolVersion | undefined): Incoming {
  switch (packet.cmd) {
    case "connect":
      if (version !== undefined) throw new PacketProblem("a second CONNECT");
      checkConnect(packet);
      return packet as Connect & { cmd: "connect" };
    case "publish": {
      const { qos, topic, retain, dup } = packet;
      if (qos === 0 && dup) throw new PacketProblem("DUP at QoS 0", reason.malformed);
      const given: Record<string, unknown> = packet.properties ?? {};
      if (given["subscriptionIdentifier"] !== undefined)
        throw new PacketProblem("a client's PUBLISH carries no subscription identifier");
      const alias = optional(given, "topicAlias", "number");
      const expirySeconds = optional(given, "messageExpiryInterval", "number");
      const properties = packet.properties && messageProperties(given);
      return {
        cmd: "publish",
        topic,
        payload: packet.payload as Buffer,
        qos,
        retain,
        dup,
        messageId: qos === 0 ? 0 : identifierOf(packet),
        ...(alias === undefined ? {} : { alias }),
        ...(expirySeconds === undefined ? {} : { expirySeconds }),
        ...(properties ? { properties } : {}),
      };
    }
    case "puback":
    case "pubrec":
    case "pubrel":
    case "pubcomp":
      return {
        cmd: packet.cmd,
        messageId: identifierOf(packet),
        reasonCode: packet.reasonCode ?? 0,
      };
    case "subscribe": {
      if (packet.subscriptions.length === 0) throw new PacketProblem("SUBSCRIBE without a filter");
      const given: Record<string, unknown> = packet.properties ?? {};
      const identifier = optional(given, "subscriptionIdentifier", "number");
      if (identifier === 0) throw new PacketProblem("a subscription identifier of 0");
      return {
        cmd: "subscribe",
        messageId: identifierOf(packet),
        subscriptions: packet.subscriptions,
        ...(identifier === undefined ? {} : { identifier }),
      };
    }
    case "unsubscribe": {
      const { unsubscriptions } = packet;
      if (unsubscriptions.length === 0 || unsubscriptions.some((topic) => topic === null))
        throw new PacketProblem("UNSUBSCRIBE without a filter");
      return { cmd: "unsubscribe", messageId: identifierOf(packet), unsubscriptions };
    }
    case "disconnect":
    case "pingreq":
      return packet as IDisconnectPacket | { cmd: "pingreq" };
    default:
      throw new PacketProblem(`${packet.cmd} is not a client's to send`);
  }
}

function checkConnect(packet: IConnectPacket): void {
  const given: Record<string, unknown> = packet.properties ?? {};
  for (const name of ["sessionExpiryInterval", "topicAliasMaximum"])
    optional(given, name, "number");
  for (const name of ["receiveMaximum", "maximumPacketSize"])
    if (optional(given, name, "number") === 0) throw new PacketProblem(`${name} of 0`);
  if (packet.will?.properties) messageProperties({ ...packet.will.properties });
}

function identifierOf({ messageId }: { messageId?: number }): number {
  // mqtt-packet gives -1 where there are no bytes for one.
  if (messageId === undefined || messageId <= 0)
    throw new PacketProblem("a packet identifier of 0, or none", reason.malformed);
  return messageId;
}

type Types = { number: number; string: string; boolean: boolean };

/** A property given twice comes as an array, a malformed one as null. */
function optional<T extends keyof Types>(
  given: Record<string, unknown>,
  name: string,
  type: T,
): Types[T] | undefined {
  const value = given[name];
  if (value === undefined) return undefined;
  if (typeof value !== type) throw new PacketProblem(`${name} is malformed, or given twice`);
  return value as Types[T];
}

/** The part of the properties that is the message's own, checked. */
export function messageProperties(given: Record<string, unknown>): MessageProperties | undefined {
  const properties: MessageProperties = {};
  const format = optional(given, "payloadFormatIndicator", "boolean");
  if (format !== undefined) properties.payloadFormatIndicator = format;
  const contentType = optional(given, "contentType", "string");
  if (contentType !== undefined) properties.contentType = contentType;
  const responseTopic = optional(given, "responseTopic", "string");
  if (responseTopic !== undefined) properties.responseTopic = responseTopic;
  const { correlationData, userProperties } = given;
  if (correlationData !== undefined) {
    if (!Buffer.isBuffer(correlationData)) throw new PacketProblem("correlationData is malformed");
    // Out of the chunk it arrived in, which it would otherwise keep alive.
    properties.correlationData = Buffer.from(correlationData);
  }
  if (userProperties !== undefined) {
    const pairs = userProperties as Record<string, string | string[]>;
    for (const value of Object.values(pairs).flat())
      if (typeof value !== "string") throw new PacketProblem("a user property is malformed");
    properties.userProperties = pairs;
  }
  return Object.keys(properties).length > 0 ? properties : undefined;
}

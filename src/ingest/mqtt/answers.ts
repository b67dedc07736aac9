/** What the broker sends, PUBLISH left out: acknowledgements, CONNACK, DISCONNECT. */
import type { Packet } from "mqtt-packet";
import { generate } from "./packets.ts";
import type { Acknowledgement, Connect, ProtocolVersion } from "./codec.ts";
import type { Ending } from "./ending.ts";
import type { Admitted, Refusal } from "./handshake.ts";
import { halfOpenMax, packetBytesMax, topicAliasesMax } from "./limits.ts";

const reasonCharactersMax = 300;
const headerByCommand = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 } as const;

/** Bytes of an acknowledgement; what MQTT 5 adds is left out for older versions. */
export function encodeAcknowledgement(
  version: ProtocolVersion,
  packet: Acknowledgement & {
    readonly reasonString?: string;
    readonly userProperties?: Record<string, string>;
  },
): Buffer {
  const { cmd, messageId, reasonCode, reasonString, userProperties } = packet;
  if (version !== 5 || (reasonCode === 0 && !reasonString && !userProperties)) {
    const bytes = Buffer.allocUnsafe(4);
    bytes[0] = headerByCommand[cmd];
    bytes[1] = 2;
    bytes.writeUInt16BE(messageId, 2);
    return bytes;
  }
  const properties = {
    ...(reasonString ? { reasonString } : {}),
    ...(userProperties ? { userProperties } : {}),
  };
  return generate({ cmd, messageId, reasonCode, properties }, { protocolVersion: 5 });
}

/** Bytes of any other packet. */
export const encode = (version: ProtocolVersion, packet: Packet): Buffer =>
  generate(packet, { protocolVersion: version });

export const pingResponse = encode(4, { cmd: "pingresp" });

const reasonOf = (message: string) => ({ reasonString: message.slice(0, reasonCharactersMax) });

/** CONNACK for who may not come in; undefined where the version has no code for it. */
export function encodeRefusal(
  version: ProtocolVersion,
  { returnCode, reasonCode, message }: Refusal,
): Buffer | undefined {
  if (version === 5) {
    const properties = reasonOf(message);
    return encode(5, { cmd: "connack", sessionPresent: false, reasonCode, properties });
  }
  return returnCode === undefined
    ? undefined
    : encode(4, { cmd: "connack", sessionPresent: false, returnCode });
}

/** DISCONNECT of MQTT 5. */
export const encodeFarewell = ({ reasonCode, message }: Ending): Buffer =>
  encode(5, { cmd: "disconnect", reasonCode, properties: reasonOf(message) });

/** CONNACK for who may come in. */
export function encodeWelcome(
  version: ProtocolVersion,
  { clientId, isAssigned, expirySeconds }: Admitted,
  packet: Connect,
  sessionPresent: boolean,
): Buffer {
  if (version !== 5) return encode(4, { cmd: "connack", sessionPresent, returnCode: 0 });
  const isShorter = (packet.properties?.sessionExpiryInterval ?? 0) !== expirySeconds;
  return encode(5, {
    cmd: "connack",
    sessionPresent,
    reasonCode: 0,
    properties: {
      ...(isShorter ? { sessionExpiryInterval: expirySeconds } : {}),
      receiveMaximum: halfOpenMax,
      maximumPacketSize: packetBytesMax,
      topicAliasMaximum: topicAliasesMax,
      ...(isAssigned ? { assignedClientIdentifier: clientId } : {}),
    },
  });
}

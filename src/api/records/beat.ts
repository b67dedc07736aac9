/**
 * A heartbeat: one UDP datagram that a node's keeper sends to every peer's peers port. It is signed
 * with the node's identity key and carries the identity leaf, so that it can be checked without a
 * connection. The keeper writes it, `transport` checks it, `membership` reads it.
 *
 * Layout: "SKB1" | u16 certificate length | certificate (DER) | u16 payload length | payload (JSON,
 * UTF-8) | signature of everything before it (ECDSA P-256 over SHA-256, IEEE P1363, 64 bytes).
 */
export type Beat = {
  readonly node: string;
  /** Of the host's boot: changes with a reboot. */
  readonly bootId: string;
  /** Wall clock at which the keeper started: a new keeper's beats follow the old one's. */
  readonly keeperStartedMs: number;
  /** Grows by one with each beat of one keeper; an older or equal one is a replay. */
  readonly sequence: number;
  readonly agent: "up" | "down";
  /** Whom this node heard, and how many milliseconds before this beat was sent. */
  readonly heard: Readonly<Record<string, number>>;
};

const magic = 0x534b4231;
const signatureBytes = 64;
/** Fits one Ethernet frame with room for IPv6 headers and 50 nodes in `heard`. */
export const beatBytesMax = 4096;

/** Everything up to the signature. */
export function encodeBeat(certificate: Uint8Array, beat: Beat): Uint8Array {
  const payload = new TextEncoder().encode(JSON.stringify(beat));
  const bytes = new Uint8Array(8 + certificate.length + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic);
  view.setUint16(4, certificate.length);
  bytes.set(certificate, 6);
  view.setUint16(6 + certificate.length, payload.length);
  bytes.set(payload, 8 + certificate.length);
  return bytes;
}

export type BeatParts = {
  readonly certificate: Uint8Array;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly payload: Uint8Array;
};

/** Splits a datagram; undefined when it is not one of ours. Checks no signature. */
export function splitBeat(datagram: Uint8Array): BeatParts | undefined {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  if (
    datagram.length < 8 + signatureBytes ||
    datagram.length > beatBytesMax ||
    view.getUint32(0) !== magic
  )
    return undefined;
  const certificateEnd = 6 + view.getUint16(4);
  if (certificateEnd + 2 + signatureBytes > datagram.length) return undefined;
  const payloadEnd = certificateEnd + 2 + view.getUint16(certificateEnd);
  if (payloadEnd + signatureBytes !== datagram.length) return undefined;
  return {
    certificate: datagram.subarray(6, certificateEnd),
    payload: datagram.subarray(certificateEnd + 2, payloadEnd),
    signed: datagram.subarray(0, payloadEnd),
    signature: datagram.subarray(payloadEnd),
  };
}

/** The payload of a datagram whose signature holds; undefined when a field is missing or of the wrong type. */
export function decodeBeat(payload: Uint8Array): Beat | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const beat = value as Record<string, unknown>;
  const heard = beat["heard"];
  const valid =
    typeof beat["node"] === "string" &&
    typeof beat["bootId"] === "string" &&
    Number.isSafeInteger(beat["keeperStartedMs"]) &&
    Number.isSafeInteger(beat["sequence"]) &&
    (beat["agent"] === "up" || beat["agent"] === "down") &&
    typeof heard === "object" &&
    heard !== null &&
    Object.values(heard).every((ageMs) => typeof ageMs === "number" && ageMs >= 0);
  return valid ? (value as Beat) : undefined;
}

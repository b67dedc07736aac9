/**
 * The header by which a balancer that passes TCP through says who the client is: PROXY protocol,
 * version 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt). Pure: bytes in, what they say out.
 */
import { SocketAddress } from "node:net";

export type ProxySource = { readonly address: string; readonly port: number };

export type ProxyHeader =
  /** More bytes are needed. */
  | { readonly state: "short" }
  | { readonly state: "refused"; readonly why: string; readonly hint: string }
  | {
      readonly state: "read";
      /** Bytes of the header; the client's own begin behind it. */
      readonly length: number;
      /** Absent: the balancer itself (a health check), or a client without an address. */
      readonly source?: ProxySource;
    };

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const fixedBytes = 16;
/** The protocol allows 64 KiB; balancers send some hundreds at most. */
const lengthMax = 4096;
/** By address family and transport; stream sockets, and what has no address. */
const addressBytesByKind: Readonly<Record<number, number>> = {
  0x00: 0,
  0x11: 12,
  0x21: 36,
  0x31: 216,
};
const crcType = 0x03;

const useVersion2 =
  "let the balancer send version 2 (HAProxy: send-proxy-v2; nginx has version 1 only)";

export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  const seen = Math.min(bytes.length, signature.length);
  if (seen === 0) return { state: "short" };
  if (!bytes.subarray(0, seen).equals(signature.subarray(0, seen))) return notOne(bytes);
  if (bytes.length < fixedBytes) return { state: "short" };
  const [versionAndCommand = 0, kind = 0] = bytes.subarray(12, 14);
  const command = versionAndCommand & 0x0f;
  if (versionAndCommand >> 4 !== 2 || command > 1)
    return refused(`version and command ${versionAndCommand} of a PROXY header are not known`);
  const size = bytes.readUInt16BE(14);
  if (size > lengthMax) return refused(`a PROXY header says that it has ${size} bytes`);
  const length = fixedBytes + size;
  if (bytes.length < length) return { state: "short" };
  // LOCAL: whatever else it holds is to be passed over.
  if (command === 0) return { state: "read", length };
  const addressBytes = addressBytesByKind[kind];
  if (addressBytes === undefined)
    return refused(`family and transport ${kind} of a PROXY header are none of a TCP connection`);
  if (size < addressBytes) return refused("the addresses in a PROXY header are cut short");
  const header = bytes.subarray(0, length);
  const wrong = whatIsWrong(header, fixedBytes + addressBytes);
  if (wrong !== undefined) return refused(wrong);
  const source = sourceOf(header, kind);
  return { state: "read", length, ...(source ? { source } : {}) };
}

function notOne(bytes: Buffer): ProxyHeader {
  const begins = (text: string) =>
    bytes.subarray(0, text.length).equals(Buffer.from(text).subarray(0, bytes.length));
  if (begins("PROXY "))
    return { state: "refused", why: "a PROXY header of version 1", hint: useVersion2 };
  const what = bytes[0] === 0x16 ? "TLS without a PROXY header before it" : "no PROXY header";
  return {
    state: "refused",
    why: what,
    hint: `${useVersion2}; without one in front, leave --proxy-protocol out`,
  };
}

const refused = (why: string): ProxyHeader => ({
  state: "refused",
  why,
  hint: "what stands in front sends something else than PROXY protocol version 2 over TCP",
});

/** Of the fields behind the addresses: type, length, value. */
function whatIsWrong(header: Buffer, from: number): string | undefined {
  for (let at = from; at < header.length;) {
    if (at + 3 > header.length) return "a field of a PROXY header is cut short";
    const end = at + 3 + header.readUInt16BE(at + 1);
    if (end > header.length) return "a field of a PROXY header is longer than the header";
    if (header[at] === crcType) {
      if (end - at !== 7) return "the checksum of a PROXY header has no four bytes";
      const zeroed = Buffer.from(header);
      zeroed.fill(0, at + 3, end);
      if (crc32c(zeroed) !== header.readUInt32BE(at + 3))
        return "the checksum of a PROXY header is wrong";
    }
    at = end;
  }
  return undefined;
}

function sourceOf(header: Buffer, kind: number): ProxySource | undefined {
  if (kind === 0x11)
    return { address: header.subarray(16, 20).join("."), port: header.readUInt16BE(24) };
  if (kind !== 0x21) return undefined;
  const groups = Array.from({ length: 8 }, (_, index) =>
    header.readUInt16BE(fixedBytes + 2 * index).toString(16),
  );
  const { address } = new SocketAddress({ address: groups.join(":"), family: "ipv6" });
  return { address: withoutMapping(address), port: header.readUInt16BE(48) };
}

/** An IPv4 address that a socket for both kinds shows as `::ffff:192.0.2.1`. */
export const withoutMapping = (address: string): string =>
  /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;

/** CRC-32C (RFC 3720, appendix B.4), bit by bit: headers are short. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

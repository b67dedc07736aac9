/** IP addresses as certificates carry them. */
import { isIPv4 } from "node:net";

/** 4 or 16 bytes of an address that `net.isIP` accepts. */
export function ipBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split("."), Number);
  const [text = ""] = address.split("%");
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const bytes = dotted ? ipBytes(dotted[2] ?? "") : undefined;
  const hex = bytes
    ? `${dotted?.[1]}${pair(bytes, 0).toString(16)}:${pair(bytes, 2).toString(16)}`
    : text;
  const [head = "", tail] = hex.split("::");
  const groups = (part: string | undefined) => (part ? part.split(":") : []);
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill("0"), ...groups(tail)];
  return Uint8Array.from(
    all.flatMap((group) => {
      const value = Number.parseInt(group, 16);
      return [value >> 8, value & 0xff];
    }),
  );
}

const pair = (bytes: Uint8Array, at: number) => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

/** The protobuf wire format (protobuf.dev/programming-guides/encoding), as far as it is read here. */
import { badRequest } from "../status.ts";

export type WireField = {
  readonly number: number;
  /** A varint as it came, or the bytes of a length-delimited field. */
  readonly value: bigint | Uint8Array;
};

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const fixed32 = 5;

/** The fields of one message, in order. Throws StatusError 400 when the bytes are torn. */
export function readFields(bytes: Uint8Array, where: string): WireField[] {
  const fields = tryReadFields(bytes);
  if (!fields) throw badRequest(`the protobuf body is torn in ${where}`);
  return fields;
}

/** As `readFields`; undefined when the bytes are no message. */
export function tryReadFields(bytes: Uint8Array): WireField[] | undefined {
  const fields: WireField[] = [];
  let offset = 0;
  const readVarint = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[offset++];
      if (byte === undefined) return undefined;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    return undefined;
  };
  const take = (length: bigint | undefined): Uint8Array | undefined => {
    if (length === undefined || BigInt(offset) + length > bytes.length) return undefined;
    offset += Number(length);
    return bytes.subarray(offset - Number(length), offset);
  };
  const readValue = (wireType: number): WireField["value"] | undefined => {
    if (wireType === varint) return readVarint();
    if (wireType === lengthDelimited) return take(readVarint());
    if (wireType === fixed64) return take(8n);
    return wireType === fixed32 ? take(4n) : undefined;
  };

  while (offset < bytes.length) {
    const tag = readVarint();
    if (tag === undefined || tag >> 3n === 0n || tag > 0xffff_ffffn) return undefined;
    const value = readValue(Number(tag & 7n));
    if (value === undefined) return undefined;
    fields.push({ number: Number(tag >> 3n), value });
  }
  return fields;
}

export function readText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw badRequest(`${where}: the protobuf body holds text that is not UTF-8`);
  }
}

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
  const fields: WireField[] = [];
  let offset = 0;
  const torn = () => badRequest(`the protobuf body is torn in ${where}`);

  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[offset++];
      if (byte === undefined) throw torn();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw torn();
  };
  const take = (length: number): Uint8Array => {
    if (offset + length > bytes.length) throw torn();
    offset += length;
    return bytes.subarray(offset - length, offset);
  };

  while (offset < bytes.length) {
    const tag = Number(readVarint());
    const [number, wireType] = [tag >>> 3, tag & 7];
    if (number === 0) throw torn();
    if (wireType === varint) fields.push({ number, value: readVarint() });
    else if (wireType === lengthDelimited) {
      fields.push({ number, value: take(Number(readVarint())) });
    } else if (wireType === fixed64) fields.push({ number, value: take(8) });
    else if (wireType === fixed32) fields.push({ number, value: take(4) });
    else throw torn();
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

/**
 * Numbers of the Protocol Buffers encoding, read in place. Of what a member sends most is small numbers
 * inside messages inside messages: neither costs an object or a bigint here.
 * https://protobuf.dev/programming-guides/encoding/
 */

export type Cursor = { readonly bytes: Uint8Array; pos: number };

export const cut = () => new RangeError("a message of etcd ends in the middle of a field");

const varintBytesMax = 10;

/** int64, as far as it is a safe integer; uint32. Throws RangeError for others. */
export function integer(at: Cursor): number {
  const { bytes } = at;
  const startedAt = at.pos;
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes[at.pos++];
    if (byte === undefined) throw cut();
    if (byte < 128) {
      value += byte * factor;
      break;
    }
    value += (byte - 128) * factor;
    if (at.pos - startedAt >= varintBytesMax) throw tooLong();
  }
  if (value <= Number.MAX_SAFE_INTEGER) return value;
  // Negative ones are ten bytes long.
  at.pos = startedAt;
  const signed = Number(BigInt.asIntN(64, id64(at)));
  if (!Number.isSafeInteger(signed)) throw new RangeError(`${signed} is not a safe integer`);
  return signed;
}

/** uint64. */
export function id64(at: Cursor): bigint {
  const startedAt = at.pos;
  let value = 0n;
  for (;;) {
    // Seven times seven bits are exact as a number.
    const shift = 7n * BigInt(at.pos - startedAt);
    let part = 0;
    for (let factor = 1; factor < 2 ** 49; factor *= 128) {
      const byte = at.bytes[at.pos++];
      if (byte === undefined) throw cut();
      part += (byte & 127) * factor;
      if (byte < 128) return BigInt.asUintN(64, value | (BigInt(part) << shift));
      if (at.pos - startedAt >= varintBytesMax) throw tooLong();
    }
    value |= BigInt(part) << shift;
  }
}

/** Of what follows; it is all there. */
export function lengthOf(at: Cursor): number {
  const length = integer(at);
  if (length < 0 || at.pos + length > at.bytes.length) throw cut();
  return length;
}

/** A field that is not known: of a later etcd. */
export function skip(at: Cursor, wireType: number): void {
  switch (wireType) {
    case 0:
      id64(at);
      return;
    case 1:
      at.pos += 8;
      return;
    case 2: {
      const length = lengthOf(at);
      at.pos += length;
      return;
    }
    case 5:
      at.pos += 4;
      return;
    default:
      throw new RangeError(`a message of etcd has a field of wire type ${wireType}`);
  }
}

const tooLong = () => new RangeError("a message of etcd has a number of more than 64 bits");

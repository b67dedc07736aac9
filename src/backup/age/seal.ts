/**
 * Sealing to public keys, in the age format (age-encryption.org/v1): a file that the `age` tool opens
 * as well, so that a backup can be read where no Skerry is left. The payload is cut into chunks of
 * 64 KiB, each under its number, the last one marked (the STREAM construction of Hoang, Reyhanitabar,
 * Rogaway and Vizár, 2015): nothing can be cut off, swapped or added unnoticed.
 */
import { createCipheriv, hkdfSync } from "node:crypto";
import type { Random } from "../../lib/random.ts";
import { cipherName, damaged, headerLength, makeHeader, openHeader, openSealed } from "./header.ts";
import type { RecoveryKey } from "./keys.ts";

const chunkBytes = 64 * 1024;
const tagBytes = 16;
const saltBytes = 16;

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Throws `invalid-recovery-key`, and what `plain` throws. */
export async function* seal(
  deps: { random: Random },
  recipients: readonly string[],
  plain: Bytes,
): AsyncGenerator<Uint8Array> {
  const { header, fileKey } = makeHeader(deps.random, recipients);
  const salt = deps.random.bytes(saltBytes);
  yield header;
  yield salt;
  const key = payloadKey(fileKey, salt);
  let index = 0;
  for await (const { bytes, isLast } of chunksOf(plain, chunkBytes)) {
    const cipher = createCipheriv(cipherName, key, nonceOf(index++, isLast), {
      authTagLength: tagBytes,
    });
    yield Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }
}

/**
 * What was sealed, chunk by chunk: each is proved before it is given out, that all of them were is
 * known at the end only. Throws `backup-damaged` or `backup-wrong-key`.
 */
export async function* unseal(
  keys: readonly RecoveryKey[],
  sealed: Bytes,
): AsyncGenerator<Uint8Array> {
  const source = reader(sealed);
  let head = Buffer.alloc(0);
  let end: number | undefined;
  while ((end = headerLength(head)) === undefined) {
    const more = await source.some();
    if (!more) throw damaged("it ends in its header");
    head = Buffer.concat([head, more]);
  }
  const fileKey = openHeader(head.subarray(0, end), keys);
  source.putBack(head.subarray(end));
  const salt = await source.exactly(saltBytes);
  if (!salt) throw damaged("it ends before its content");
  const key = payloadKey(fileKey, salt);
  let index = 0;
  for await (const { bytes, isLast } of chunksOf(source.rest(), chunkBytes + tagBytes)) {
    const isEmpty = bytes.length <= tagBytes;
    if (bytes.length < tagBytes || (isEmpty && index > 0)) throw damaged("it was cut off");
    const plain = openSealed(key, nonceOf(index++, isLast), bytes);
    if (!plain) throw damaged(`bytes after ${(index - 1) * chunkBytes} were changed or cut off`);
    yield plain;
  }
}

const payloadKey = (fileKey: Uint8Array, salt: Uint8Array) =>
  Buffer.from(hkdfSync("sha256", fileKey, salt, "payload", 32));

function nonceOf(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(Math.floor(index / 2 ** 32), 3);
  nonce.writeUInt32BE(index % 2 ** 32, 7);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

/** Pieces of `size` bytes; the last may be shorter, and is empty only when there is nothing at all. */
async function* chunksOf(
  source: Bytes,
  size: number,
): AsyncGenerator<{ bytes: Buffer; isLast: boolean }> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const piece of source) {
    held.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
    heldBytes += piece.byteLength;
    // A whole chunk is the last one unless a byte follows it.
    if (heldBytes <= size) continue;
    const all = Buffer.concat(held);
    let at = 0;
    for (; all.length - at > size; at += size)
      yield { bytes: all.subarray(at, at + size), isLast: false };
    held = [all.subarray(at)];
    heldBytes = all.length - at;
  }
  yield { bytes: Buffer.concat(held), isLast: true };
}

/** A source that is read in amounts of one's own choice. */
function reader(source: Bytes) {
  const iterator =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  let back: Buffer | undefined;
  const some = async (): Promise<Buffer | undefined> => {
    if (back && back.length > 0) {
      const held = back;
      back = undefined;
      return held;
    }
    const next = await iterator.next();
    return next.done === true
      ? undefined
      : Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
  };
  return {
    some,
    putBack: (bytes: Buffer) => {
      back = bytes;
    },
    async exactly(bytes: number): Promise<Buffer | undefined> {
      let held = Buffer.alloc(0);
      while (held.length < bytes) {
        const more = await some();
        if (!more) return undefined;
        held = Buffer.concat([held, more]);
      }
      back = held.subarray(bytes);
      return held.subarray(0, bytes);
    },
    async *rest(): AsyncGenerator<Uint8Array> {
      try {
        for (let piece = await some(); piece; piece = await some()) yield piece;
      } finally {
        await iterator.return?.();
      }
    },
  };
}

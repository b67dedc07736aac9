/**
 * The header of an age file: the file's key, wrapped for each recipient, under a MAC of that key
 * (age-encryption.org/v1, C2SP). Only X25519 recipients are made and opened; stanzas of other kinds
 * are passed over, as the format asks.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  timingSafeEqual,
} from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import {
  privateKey,
  privateKeyOf,
  publicBytes,
  recipientBytes,
  sharedSecret,
  type RecoveryKey,
} from "./keys.ts";

const version = "age-encryption.org/v1";
const fileKeyBytes = 16;
const tagBytes = 16;
const x25519Info = "age-encryption.org/v1/X25519";
/** A header has a line or two for each recipient. */
export const headerBytesMax = 64 * 1024;

export const cipherName = "chacha20-poly1305";
const zeroNonce = Buffer.alloc(12);

export function makeHeader(
  random: Random,
  recipients: readonly string[],
): { header: Buffer; fileKey: Uint8Array } {
  const fileKey = random.bytes(fileKeyBytes);
  const stanzas = recipients.map((recipient) => wrap(random, fileKey, recipientBytes(recipient)));
  const head = `${version}\n${stanzas.join("")}---`;
  return { header: Buffer.from(`${head} ${base64(macOf(fileKey, head))}\n`), fileKey };
}

function wrap(random: Random, fileKey: Uint8Array, recipient: Uint8Array): string {
  const own = privateKey(random.bytes(32));
  const share = publicBytes(own);
  const secret = sharedSecret(own, recipient);
  if (!secret) {
    throw new SkerryError({
      code: "invalid-recovery-key",
      message: "the public recovery key is of low order: it protects nothing",
    });
  }
  const cipher = createCipheriv(cipherName, wrapKey(secret, share, recipient), zeroNonce, {
    authTagLength: tagBytes,
  });
  const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
  return `-> X25519 ${base64(share)}\n${base64(body)}\n`;
}

const wrapKey = (secret: Uint8Array, share: Uint8Array, recipient: Uint8Array) =>
  Buffer.from(hkdfSync("sha256", secret, Buffer.concat([share, recipient]), x25519Info, 32));

const macOf = (fileKey: Uint8Array, head: string) =>
  createHmac("sha256", Buffer.from(hkdfSync("sha256", fileKey, "", "header", 32)))
    .update(head, "latin1")
    .digest();

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

/** Where the header ends in `bytes`; undefined while it has not. Throws `backup-damaged`. */
export function headerLength(bytes: Buffer): number | undefined {
  if (
    !bytes
      .subarray(0, version.length + 1)
      .equals(Buffer.from(`${version}\n`).subarray(0, bytes.length))
  )
    throw damaged("it does not begin as a sealed backup does");
  const mac = bytes.indexOf("\n--- ");
  const end = mac < 0 ? -1 : bytes.indexOf("\n", mac + 1);
  if (end >= 0) return end + 1;
  if (bytes.length > headerBytesMax) throw damaged("its header does not end");
  return undefined;
}

type Stanza = { readonly words: readonly string[]; readonly body: Buffer };

/** The file's key. Throws `backup-damaged` or `backup-wrong-key`. */
export function openHeader(header: Buffer, keys: readonly RecoveryKey[]): Buffer {
  const text = header.toString("latin1");
  const lines = text.split("\n");
  const macLine = lines.findIndex((line) => line.startsWith("---"));
  const mac = decodeBase64(/^--- ([A-Za-z0-9+/]{43})$/.exec(lines[macLine] ?? "")?.[1]);
  if (!mac || lines.length !== macLine + 2 || lines[macLine + 1] !== "")
    throw damaged("its header has no checksum");
  const stanzas = parseStanzas(lines.slice(1, macLine));
  for (const key of keys) {
    const own = privateKeyOf(key);
    for (const stanza of stanzas) {
      const fileKey = stanza.words[0] === "X25519" ? unwrap(stanza, own) : undefined;
      if (!fileKey) continue;
      const head = text.slice(0, text.lastIndexOf("\n--- ") + 4);
      if (timingSafeEqual(macOf(fileKey, head), mac)) return fileKey;
      throw damaged("its header was changed");
    }
  }
  throw new SkerryError({
    code: "backup-wrong-key",
    message: "none of the keys here opens this backup",
    hint: "give the recovery key that `skerry backup key` printed in the cell it comes from: --key FILE",
  });
}

function parseStanzas(lines: readonly string[]): Stanza[] {
  const stanzas: Stanza[] = [];
  for (let at = 0; at < lines.length;) {
    const words = /^-> ([!-~]+(?: [!-~]+)*)$/.exec(lines[at++] ?? "")?.[1]?.split(" ");
    if (!words) throw damaged("its header has a line that is none");
    let body = "";
    for (;;) {
      const line = lines[at++];
      if (line === undefined || !/^[A-Za-z0-9+/]{0,64}$/.test(line))
        throw damaged("its header has a line that is none");
      body += line;
      if (line.length < 64) break;
    }
    const bytes = decodeBase64(body);
    if (!bytes) throw damaged("its header has a line that is none");
    stanzas.push({ words, body: bytes });
  }
  if (stanzas.length === 0) throw damaged("its header names no key");
  return stanzas;
}

function unwrap({ words, body }: Stanza, own: ReturnType<typeof privateKey>): Buffer | undefined {
  const share = decodeBase64(words[1]);
  const isWhole = words.length === 2 && share?.length === 32;
  const secret = isWhole ? sharedSecret(own, share) : undefined;
  if (!share || !secret || body.length !== fileKeyBytes + tagBytes)
    throw damaged("a key in its header is malformed");
  return openSealed(wrapKey(secret, share, publicBytes(own)), zeroNonce, body);
}

/** Undefined when key, nonce and tag do not fit each other. */
export function openSealed(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  const decipher = createDecipheriv(cipherName, key, nonce, { authTagLength: tagBytes });
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  const plain = decipher.update(sealed.subarray(0, -tagBytes));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}

/** Canonical base64 without padding only. */
function decodeBase64(text: string | undefined): Buffer | undefined {
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, "base64");
  return base64(bytes) === text ? bytes : undefined;
}

export const damaged = (why: string) =>
  new SkerryError({
    code: "backup-damaged",
    message: `the backup is damaged: ${why}`,
    hint: "take another copy of it, or another backup: skerry backup list",
  });

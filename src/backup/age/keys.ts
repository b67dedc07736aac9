/** X25519 keys as age writes them: `age1…` may be told to anybody, `AGE-SECRET-KEY-1…` opens. */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { decodeBech32, encodeBech32 } from "./bech32.ts";

export type RecoveryKey = {
  /** `AGE-SECRET-KEY-1…` */
  readonly secret: string;
  /** `age1…`: what backups are sealed to. */
  readonly recipient: string;
};

const secretPrefix = "age-secret-key-";
const recipientPrefix = "age";
/** DER of a PKCS#8 and an SPKI key of X25519 (RFC 8410), up to the 32 bytes themselves. */
const privateDer = Buffer.from("302e020100300506032b656e04220420", "hex");
const publicDer = Buffer.from("302a300506032b656e032100", "hex");
const keyBytes = 32;

export function generateRecoveryKey(random: Random): RecoveryKey {
  return keyOf(random.bytes(keyBytes));
}

/**
 * Reads what `skerry backup key` printed, or a file of it: lines that begin with `#` and blank ones
 * are passed over, as age does. Throws `invalid-recovery-key`.
 */
export function parseRecoveryKey(text: string): RecoveryKey {
  const line = text
    .split("\n")
    .map((one) => one.trim())
    .find((one) => one !== "" && !one.startsWith("#"));
  const decoded = line === undefined ? undefined : decodeBech32(line);
  if (decoded?.prefix === secretPrefix && decoded.bytes.length === keyBytes)
    return keyOf(decoded.bytes);
  throw new SkerryError({
    code: "invalid-recovery-key",
    message:
      decoded?.prefix === recipientPrefix
        ? "the key is a public one (age1…), which only seals"
        : "the key is cut short, malformed, or no recovery key",
    hint: "it is the line AGE-SECRET-KEY-1… that `skerry backup key` printed",
  });
}

function keyOf(secret: Uint8Array): RecoveryKey {
  return {
    secret: encodeBech32(secretPrefix, secret).toUpperCase(),
    recipient: encodeBech32(recipientPrefix, publicBytes(privateKey(secret))),
  };
}

/** The 32 bytes. Throws `invalid-recovery-key`. */
export function recipientBytes(recipient: string): Uint8Array {
  const decoded = decodeBech32(recipient);
  if (decoded?.prefix === recipientPrefix && decoded.bytes.length === keyBytes)
    return decoded.bytes;
  throw new SkerryError({
    code: "invalid-recovery-key",
    message: `"${recipient.slice(0, 80)}" is not a public recovery key`,
    hint: "it begins with age1",
  });
}

export function privateKeyOf({ secret }: RecoveryKey): KeyObject {
  return privateKey(decodeBech32(secret)?.bytes ?? new Uint8Array());
}

export const privateKey = (secret: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([privateDer, secret]), format: "der", type: "pkcs8" });

export const publicBytes = (key: KeyObject): Buffer =>
  createPublicKey(key as never)
    .export({ type: "spki", format: "der" })
    .subarray(-keyBytes);

/** Undefined when the other's key is of low order, so that everybody would know the secret. */
export function sharedSecret(own: KeyObject, theirs: Uint8Array): Buffer | undefined {
  if (theirs.length !== keyBytes) return undefined;
  const der = Buffer.concat([publicDer, theirs]);
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  try {
    const secret = diffieHellman({ privateKey: own, publicKey });
    return secret.some((byte) => byte !== 0) ? secret : undefined;
  } catch {
    // OpenSSL refuses points of low order by itself.
    return undefined;
  }
}

/**
 * What an authority signs with, wherever it is: in memory, or in a module that never gives it away.
 * Nobody believes a signature because of where it comes from: who has one made looks whether it holds.
 */
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import { publicKeyOf } from "../certificates/keys.ts";

/** P-256, by ECDSA with SHA-256. */
export interface SigningKey {
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  /** DER (`ECDSA-Sig-Value`, RFC 3279, 2.2.3). */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}

/** In memory, PKCS #8. */
export interface PemKey extends SigningKey {
  readonly keyPem: string;
}

/** Throws `invalid-key`. */
export function pemKey(keyPem: string): PemKey {
  const publicKey = publicKeyOf(keyPem);
  const key = createPrivateKey(keyPem);
  return { publicKey, keyPem, sign: async (bytes) => sign("sha256", bytes, key) };
}

/** Whether the signature, DER, is that of the key, SPKI in DER, over the bytes. */
export function isSignedWith(
  publicKey: Uint8Array,
  bytes: Uint8Array,
  signature: Uint8Array,
): boolean {
  const key = createPublicKey({ key: Buffer.from(publicKey), type: "spki", format: "der" });
  return verify("sha256", bytes, key, signature);
}

/** Of what signs for the authority of this name. */
export const wrongKey = (name: string) =>
  new SkerryError({
    code: "authority-key-wrong",
    message: `what signs for ${name} is not the key of its certificate`,
    hint: "name the key that this authority was made with; nothing of what it signed was given out",
  });

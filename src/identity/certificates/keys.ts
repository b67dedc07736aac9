/**
 * Keys are made where they are used and never travel: what travels is a certificate request, whose
 * signature proves that its sender holds the key.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import { loadX509, toCryptoKeys } from "../x509.ts";

/** A new P-256 key, PKCS #8 in PEM. */
export function generateKeyPem(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** DER of the public half. Throws `invalid-key`. */
export function publicKeyOf(keyPem: string): Uint8Array {
  try {
    return createPublicKey(createPrivateKey(keyPem)).export({ type: "spki", format: "der" });
  } catch (cause) {
    throw new SkerryError({ code: "invalid-key", message: "not a private key in PEM", cause });
  }
}

/** What pins name: SHA-256 of the public key's DER (SPKI), base64url. */
export function spkiPin(spki: Uint8Array): string {
  return createHash("sha256").update(spki).digest("base64url");
}

/** A certificate request (PKCS #10, DER) for the key; names are the authority's to choose. */
export async function createRequest(keyPem: string): Promise<Uint8Array> {
  const x509 = await loadX509();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: await toCryptoKeys(keyPem),
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
  });
  return new Uint8Array(request.rawData);
}

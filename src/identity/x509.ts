/**
 * The door to @peculiar/x509, loaded on first use: it and its reflection support cost memory that
 * only those who issue or ask for certificates should pay.
 */
import { createPrivateKey, createPublicKey, webcrypto } from "node:crypto";

export async function loadX509() {
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

const p256 = { name: "ECDSA", namedCurve: "P-256" } as const;

/** WebCrypto's form of a P-256 key. */
export async function toCryptoKeys(keyPem: string): Promise<webcrypto.CryptoKeyPair> {
  const key = createPrivateKey(keyPem);
  const privateDer = key.export({ type: "pkcs8", format: "der" });
  const publicDer = createPublicKey(key).export({ type: "spki", format: "der" });
  const { subtle } = webcrypto;
  return {
    privateKey: await subtle.importKey("pkcs8", new Uint8Array(privateDer), p256, false, ["sign"]),
    publicKey: await subtle.importKey("spki", new Uint8Array(publicDer), p256, true, ["verify"]),
  };
}

/** Authorities and leaves for tests, the ones that no honest authority would issue included. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPrivateKey } from "node:crypto";
import * as identity from "../../src/identity/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { loadX509, toCryptoKeys } from "../../src/identity/x509.ts";

export const dayMs = 86_400_000;
/** "Now" of tests that choose their time. */
export const testNowMs = Date.UTC(2026, 5, 1);

/** A temporary folder removed by `using`. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "skerry-identity-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** An authority whose folder is gone again: it lives on in memory. */
export async function temporaryAuthority(
  trustDomain: string,
  options: { nowMs?: number; pathLength?: number } = {},
): Promise<identity.FolderAuthority> {
  using folder = temporaryFolder();
  return await identity.createAuthority(
    { random: systemRandom, nowMs: () => options.nowMs ?? Date.now() },
    { folder: folder.path, trustDomain, pathLength: options.pathLength },
  );
}

export function derOf(chainPem: string): Uint8Array[] {
  return identity.readCertificatesPem(chainPem).map(({ der }) => der);
}

/** A certificate with any names and times, signed by any key: what an attacker would try. */
export async function forge(options: {
  signer: identity.FolderAuthority["signer"];
  keyPem: string;
  uris?: string[];
  dns?: string[];
  ips?: string[];
  notBeforeMs?: number;
  notAfterMs?: number;
  subject?: string;
  authority?: { pathLength?: number };
  criticalExtension?: string;
}): Promise<Uint8Array> {
  const x509 = await loadX509();
  const signing = await toCryptoKeys(options.signer.key.keyPem);
  const keys = await toCryptoKeys(options.keyPem);
  const names = [
    ...(options.uris ?? []).map((value) => ({ type: "url" as const, value })),
    ...(options.dns ?? []).map((value) => ({ type: "dns" as const, value })),
    ...(options.ips ?? []).map((value) => ({ type: "ip" as const, value })),
  ];
  const { KeyUsageFlags } = x509;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(seededRandom(names.length + 1).bytes(15)).toString("hex"),
    subject: options.subject ?? "CN=forged",
    issuer: `CN=${options.signer.name}`,
    notBefore: new Date(options.notBeforeMs ?? Date.now() - dayMs),
    notAfter: new Date(options.notAfterMs ?? Date.now() + dayMs),
    publicKey: keys.publicKey,
    signingKey: signing.privateKey,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions: [
      new x509.BasicConstraintsExtension(
        options.authority !== undefined,
        options.authority?.pathLength,
        true,
      ),
      new x509.KeyUsagesExtension(
        options.authority ? KeyUsageFlags.keyCertSign : KeyUsageFlags.digitalSignature,
        true,
      ),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      ...(options.criticalExtension
        ? [new x509.Extension(options.criticalExtension, true, new Uint8Array([5, 0]))]
        : []),
    ],
  });
  return new Uint8Array(certificate.rawData);
}

export const privateKeyOf = (keyPem: string) => createPrivateKey(keyPem);

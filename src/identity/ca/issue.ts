/**
 * The shapes of every certificate that Skerry issues. An authority signs a public key that a request
 * proved, and chooses all names itself: nothing in a request but its key is believed.
 */
import { createPublicKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Extension } from "@peculiar/x509";
import type { Random } from "../../lib/random.ts";
import { SkerryError } from "../../lib/errors.ts";
import { readChildren, readDer, tags, writeDer } from "../certificates/der.ts";
import { isTrustDomain, type Subject } from "../spiffe.ts";
import { loadX509 } from "../x509.ts";
import { type SigningKey, wrongKey } from "./signing-key.ts";

export const dayMs = 86_400_000;
/** Certificates begin this long before they are issued, so that clocks behind ours accept them. */
export const backdateMs = 2 * dayMs;

/** Who signs: the key and the name that its own certificates bear. */
export type Signer<Key extends SigningKey = SigningKey> = {
  readonly key: Key;
  readonly name: string;
};

type Names = { readonly dns?: readonly string[]; readonly ips?: readonly string[] };

export type Issue = {
  readonly signer: Signer;
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  readonly nowMs: number;
  readonly lifetimeMs: number;
  /** Default: two days before `nowMs`. */
  readonly notBeforeMs?: number;
  readonly shape:
    | { readonly kind: "anchor"; readonly pathLength: number }
    | {
        readonly kind: "intermediate";
        readonly name: string;
        readonly pathLength: number;
        /** All that it may issue for. */
        readonly trustDomain: string;
      }
    | { readonly kind: "identity"; readonly subject: Subject }
    | ({ readonly kind: "serving"; readonly name: string } & Names)
    /** Serves and asks under the same name. */
    | ({ readonly kind: "ledger"; readonly name: string } & Names)
    /** Of a member of the ledger that is only asked: its key opens nothing. */
    | ({ readonly kind: "ledger-witness"; readonly name: string } & Names);
};

/**
 * DER of the new certificate. Throws `invalid-name` for a DNS or IP name that is none, what the key
 * throws, and `authority-key-wrong` rather than give out a certificate whose signature does not hold.
 */
export async function issueCertificate(
  deps: { random: Random },
  issue: Issue,
): Promise<Uint8Array> {
  const { signer, shape } = issue;
  const x509 = await loadX509();
  const { KeyUsageFlags, BasicConstraintsExtension } = x509;
  const isAuthority = shape.kind === "anchor" || shape.kind === "intermediate";
  const extensions: Extension[] = [
    new BasicConstraintsExtension(isAuthority, isAuthority ? shape.pathLength : undefined, true),
    new x509.KeyUsagesExtension(
      isAuthority
        ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign
        : KeyUsageFlags.digitalSignature,
      true,
    ),
    await x509.SubjectKeyIdentifierExtension.create(new Uint8Array(issue.publicKey)),
    await x509.AuthorityKeyIdentifierExtension.create(new Uint8Array(signer.key.publicKey)),
  ];
  if (!isAuthority) {
    const { clientAuth, serverAuth } = x509.ExtendedKeyUsage;
    extensions.push(
      new x509.ExtendedKeyUsageExtension(
        shape.kind === "serving" || shape.kind === "ledger-witness"
          ? [serverAuth]
          : [clientAuth, serverAuth],
      ),
      new x509.SubjectAlternativeNameExtension(
        shape.kind === "identity"
          ? [{ type: "url", value: shape.subject.id }]
          : servingNames(shape),
      ),
    );
  }
  if (shape.kind === "intermediate") {
    extensions.push(
      new x509.Extension("2.5.29.30", true, new Uint8Array(nameConstraints(shape.trustDomain))),
    );
  }
  const draft = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(deps.random),
    subject: distinguishedName(shape, signer),
    issuer: `CN=${signer.name}`,
    notBefore: new Date(issue.notBeforeMs ?? issue.nowMs - backdateMs),
    notAfter: new Date(issue.nowMs + issue.lifetimeMs),
    publicKey: new Uint8Array(issue.publicKey),
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    // The library signs with keys of WebCrypto only: what is signed, and where, is done below.
    signature: new Uint8Array(64).fill(1),
    extensions,
  });
  return await signed(signer, new Uint8Array(draft.rawData));
}

/** The draft with its signature in place (RFC 5280, 4.1), which is looked at as others will. */
async function signed({ key, name }: Signer, draft: Uint8Array): Promise<Uint8Array> {
  const [body, algorithm] = readChildren(readDer(draft).content);
  if (!body || !algorithm) throw new RangeError("the draft of a certificate has no body");
  const noUnusedBits = Uint8Array.of(0);
  const signature = await key.sign(body.whole);
  const certificate = writeDer(
    tags.sequence,
    body.whole,
    algorithm.whole,
    writeDer(tags.bitString, noUnusedBits, signature),
  );
  const publicKey = createPublicKey({
    key: Buffer.from(key.publicKey),
    type: "spki",
    format: "der",
  });
  if (!new X509Certificate(certificate).verify(publicKey)) throw wrongKey(name);
  return certificate;
}

/** The proved key of a certificate request: SPKI, DER. Throws `invalid-request`. */
export async function keyOfRequest(request: Uint8Array): Promise<Uint8Array> {
  const x509 = await loadX509();
  try {
    const parsed = new x509.Pkcs10CertificateRequest(new Uint8Array(request));
    if (!(await parsed.verify())) throw new RangeError("its signature does not hold");
    const algorithm: object = parsed.publicKey.algorithm;
    if (!("namedCurve" in algorithm) || algorithm.namedCurve !== "P-256")
      throw new RangeError("its key is not a P-256 key");
    return new Uint8Array(parsed.publicKey.rawData);
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-request",
      message: "not a certificate request whose signature holds",
      cause,
    });
  }
}

function distinguishedName(shape: Issue["shape"], signer: Signer): string {
  switch (shape.kind) {
    case "anchor":
      return `CN=${signer.name}`;
    case "intermediate":
    case "serving":
    case "ledger":
    case "ledger-witness":
      return `CN=${shape.name}`;
    case "identity":
      // A common name for people; 64 characters is its limit, and nothing is decided by it.
      return `CN=${shape.subject.path.join(" ").slice(0, 64)}`;
  }
}

function servingNames({ dns = [], ips = [] }: Names) {
  const badDns = dns.find((name) => name !== "localhost" && !isTrustDomain(name));
  const badIp = ips.find((ip) => isIP(ip) === 0);
  if (badDns !== undefined || badIp !== undefined || dns.length + ips.length === 0) {
    throw new SkerryError({
      code: "invalid-name",
      message: `"${badDns ?? badIp ?? ""}" is not a DNS name or IP address to serve under`,
    });
  }
  return [
    ...dns.map((value) => ({ type: "dns" as const, value })),
    ...ips.map((value) => ({ type: "ip" as const, value })),
  ];
}

/** RFC 5280, 4.2.1.10: URIs of this host, DNS names of and under it, no IP address at all. */
function nameConstraints(trustDomain: string): Uint8Array {
  const subtree = (tag: number, base: Uint8Array) => writeDer(tags.sequence, writeDer(tag, base));
  const host = Buffer.from(trustDomain, "latin1");
  return writeDer(
    tags.sequence,
    writeDer(0xa0, subtree(0x86, host), subtree(0x82, host)),
    writeDer(0xa1, subtree(0x87, new Uint8Array(8)), subtree(0x87, new Uint8Array(32))),
  );
}

/** 127 random bits, positive (RFC 5280, 4.1.2.2). */
function serialNumber(random: Random): string {
  const bytes = random.bytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

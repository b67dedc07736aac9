/**
 * A certificate read for judging: signatures by OpenSSL (through Node), names, flags and constraints
 * by our own reader. Node offers the alternative names only as one string with quoting rules, and
 * neither path length nor name constraints at all.
 */
import { X509Certificate, type KeyObject } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import {
  readChildren,
  readDer,
  readObjectIdentifier,
  readSmallInteger,
  tags,
  type DerElement,
} from "./der.ts";

export type Names = {
  readonly uris: readonly string[];
  readonly dns: readonly string[];
  /** 4 or 16 bytes; 8 or 32 (address and mask) in constraints. */
  readonly ips: readonly Uint8Array[];
  /** How many names of any other form. */
  readonly others: number;
};

export type Certificate = {
  readonly der: Uint8Array;
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly names: Names;
  readonly isAuthority: boolean;
  /** Authorities allowed below this one; Infinity when it sets no limit. */
  readonly pathLength: number;
  readonly mayIssue: boolean;
  readonly permitted: Names | undefined;
  readonly excluded: Names | undefined;
  /** Object identifiers; undefined when any purpose is allowed. */
  readonly purposes: readonly string[] | undefined;
  /** A critical extension that is not understood, or a signature algorithm that is not accepted. */
  readonly unacceptable: string | undefined;
  readonly publicKey: KeyObject;
  isSignedBy(issuer: Certificate): boolean;
};

const oid = {
  keyUsage: "2.5.29.15",
  alternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** ECDSA with SHA-256 and SHA-384 (RFC 5758): what Skerry's authorities sign with. */
const signatureAlgorithms = ["1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"];
const noNames: Names = { uris: [], dns: [], ips: [], others: 0 };
/** Far above any certificate of ours (about 600 bytes), far below what would hurt. */
const certificateBytesMax = 16_384;

/** Throws `certificate-unreadable`. */
export function readCertificate(der: Uint8Array): Certificate {
  try {
    if (der.length > certificateBytesMax) throw new RangeError(`${der.length} bytes are too many`);
    return read(der);
  } catch (cause) {
    throw new SkerryError({
      code: "certificate-unreadable",
      message: "not a certificate that can be read",
      cause,
    });
  }
}

/** Every certificate of a PEM text, in order. Throws `certificate-unreadable`. */
export function readCertificatesPem(pem: string): Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) {
    throw new SkerryError({
      code: "certificate-unreadable",
      message: "no PEM certificate in the text",
    });
  }
  return blocks.map((block) =>
    readCertificate(Buffer.from(block.replace(/-----[A-Z ]+-----|\s/g, ""), "base64")),
  );
}

export function toPem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function read(der: Uint8Array): Certificate {
  const x509 = new X509Certificate(der);
  const [toBeSigned, algorithm] = readChildren(readDer(der).content);
  if (!toBeSigned || !algorithm) throw new RangeError("certificate has no body");
  const fields = readChildren(toBeSigned.content);
  const hasVersion = fields[0]?.tag === 0xa0;
  const issuer = fields[hasVersion ? 3 : 2];
  const subject = fields[hasVersion ? 5 : 4];
  if (!issuer || !subject) throw new RangeError("certificate has no names");
  const extensions = readExtensions(fields.find(({ tag }) => tag === 0xa3));
  const value = (id: string) => extensions.get(id)?.value;

  const basic = value(oid.basicConstraints);
  const basicFields = basic ? readChildren(readDer(basic).content) : [];
  const isAuthority = basicFields[0]?.tag === tags.boolean && basicFields[0].content[0] === 0xff;
  const length = basicFields.find(({ tag }) => tag === tags.integer);
  const usage = value(oid.keyUsage);
  const usageBits = usage ? (readDer(usage).content[1] ?? 0) : 0;
  const constraints = value(oid.nameConstraints);
  const subtrees = constraints ? readChildren(readDer(constraints).content) : [];
  const purposes = value(oid.extendedKeyUsage);
  const alternative = value(oid.alternativeName);

  return {
    der,
    subject: subject.whole,
    issuer: issuer.whole,
    notBeforeMs: x509.validFromDate.getTime(),
    notAfterMs: x509.validToDate.getTime(),
    names: alternative ? readNames(readChildren(readDer(alternative).content)) : noNames,
    isAuthority,
    pathLength: length ? readSmallInteger(length.content) : Infinity,
    // keyCertSign is bit 5 (RFC 5280, 4.2.1.3).
    mayIssue: isAuthority && (usageBits & 0x04) !== 0,
    permitted: readSubtrees(subtrees.find(({ tag }) => tag === 0xa0)),
    excluded: readSubtrees(subtrees.find(({ tag }) => tag === 0xa1)),
    purposes: purposes
      ? readChildren(readDer(purposes).content).map(({ content }) => readObjectIdentifier(content))
      : undefined,
    unacceptable: findUnacceptable(extensions, algorithm),
    publicKey: x509.publicKey,
    isSignedBy: (authority) => x509.verify(authority.publicKey),
  };
}

type Extension = { readonly critical: boolean; readonly value: Uint8Array };

function readExtensions(element: DerElement | undefined): Map<string, Extension> {
  const extensions = new Map<string, Extension>();
  if (!element) return extensions;
  for (const extension of readChildren(readDer(element.content).content)) {
    const parts = readChildren(extension.content);
    const value = parts.at(-1);
    if (!parts[0] || value?.tag !== tags.octetString) throw new RangeError("extension is torn");
    const id = readObjectIdentifier(parts[0].content);
    if (extensions.has(id)) throw new RangeError(`extension ${id} stands there twice`);
    extensions.set(id, { critical: parts.length === 3, value: value.content });
  }
  return extensions;
}

function findUnacceptable(
  extensions: ReadonlyMap<string, Extension>,
  algorithm: DerElement,
): string | undefined {
  const [id] = readChildren(algorithm.content);
  const signedWith = id ? readObjectIdentifier(id.content) : "nothing";
  if (!signatureAlgorithms.includes(signedWith)) return `signature algorithm ${signedWith}`;
  const understood: readonly string[] = Object.values(oid);
  for (const [extension, { critical }] of extensions)
    if (critical && !understood.includes(extension)) return `critical extension ${extension}`;
  return undefined;
}

/** General names (RFC 5280, 4.2.1.6), by their context tag. */
function readNames(elements: readonly DerElement[]): Names {
  const text = (tag: number) =>
    elements
      .filter((element) => element.tag === tag)
      .map(({ content }) => Buffer.from(content).toString("latin1"));
  const ips = elements.filter(({ tag }) => tag === 0x87).map(({ content }) => content);
  const [uris, dns] = [text(0x86), text(0x82)];
  return { uris, dns, ips, others: elements.length - uris.length - dns.length - ips.length };
}

function readSubtrees(element: DerElement | undefined): Names | undefined {
  if (!element) return undefined;
  const bases = readChildren(element.content).map((subtree) => {
    const [base, ...rest] = readChildren(subtree.content);
    if (!base || rest.length > 0) throw new RangeError("name constraint has an unknown shape");
    return base;
  });
  return readNames(bases);
}

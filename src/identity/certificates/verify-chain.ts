/**
 * The one judge of certificates, for links, HTTPS, beats and tokens. It exists because Node reports
 * a time error *instead of* a wrong signature when a foreign authority carries the name of ours, so
 * that "only the clock complains" proves nothing. Here the signatures decide first, and the time is
 * the cell's, not the host's. What it refuses beyond RFC 5280: leaves without exactly one SPIFFE id,
 * self-issued intermediates, and names of any other form.
 */
import { isIP } from "node:net";
import { explain } from "../../lib/errors.ts";
import type { Trust } from "../credentials.ts";
import { parseSpiffeId, type Subject } from "../spiffe.ts";
import {
  readCertificate,
  readCertificatesPem,
  type Certificate,
  type Names,
} from "./certificate.ts";
import { ipBytes } from "./ip.ts";
import { constraintBroken } from "./name-constraints.ts";

export type RefusalReason =
  /** The peer sent no certificate. */
  | "none"
  | "unreadable"
  /** No signature leads to an anchor: another cell's authority, or one of the same name. */
  | "foreign"
  | "expired"
  | "not-yet-valid"
  /** Not exactly one SPIFFE id, or names where none may be. */
  | "identity"
  | "wrong-trust-domain"
  /** Path length, name constraints, purposes: the issuer was not allowed to sign this. */
  | "constraints";

export type Refusal = {
  readonly ok: false;
  readonly reason: RefusalReason;
  readonly message: string;
};

/** The whole path is valid from .. until, milliseconds since 1970. */
export type Validity = { readonly ok: true; readonly fromMs: number; readonly untilMs: number };

export type Verdict =
  | (Validity & { readonly subject: Subject; readonly leaf: Certificate })
  | Refusal;

export type VerifyOptions = {
  /**
   * `raise-to-leaf` believes the leaf's own start when the given time lies before it: for joining
   * with a clock that was never set. `ignore-expiry` is for renewal of a leaf that ran out.
   */
  readonly time?: "strict" | "raise-to-leaf" | "ignore-expiry";
};

/** More than anchor, cell, node issuer and leaf would ever need. */
const chainMax = 6;
const purposeOid = { client: "1.3.6.1.5.5.7.3.2", server: "1.3.6.1.5.5.7.3.1" } as const;

/** Judges a chain as it came over the wire: DER, the leaf first, the rest in any order. */
export function verifyChain(
  chain: readonly Uint8Array[],
  trust: Trust,
  nowMs: number,
  options: VerifyOptions = {},
): Verdict {
  if (chain.length === 0) return refuse("none", "no certificate was sent");
  if (chain.length > chainMax)
    return refuse("unreadable", `${chain.length} certificates were sent`);
  let certificates: Certificate[];
  try {
    certificates = chain.map(readCertificate);
  } catch (error) {
    return refuse("unreadable", explain(error));
  }
  return verifyCertificates(certificates, trust, nowMs, options);
}

/** As `verifyChain`, for certificates read before. */
export function verifyCertificates(
  certificates: readonly Certificate[],
  trust: Trust,
  nowMs: number,
  options: VerifyOptions = {},
): Verdict {
  const [leaf] = certificates;
  if (!leaf) return refuse("none", "no certificate was sent");
  const identified = identify(leaf, trust);
  if (!identified.ok) return identified;
  const { subject } = identified;
  const validity = judge(certificates, trust, nowMs, { ...options, who: subject.id });
  return validity.ok ? { ...validity, subject, leaf } : validity;
}

/** Judges a serving chain by the DNS name or IP address that was asked for. */
export function verifyServing(
  certificates: readonly Certificate[],
  trust: Trust,
  nowMs: number,
  options: VerifyOptions & { readonly host: string },
): Validity | Refusal {
  const [leaf] = certificates;
  if (!leaf) return refuse("none", "no certificate was sent");
  if (leaf.isAuthority || leaf.names.uris.length > 0)
    return refuse("identity", "not a serving certificate");
  if (leaf.purposes && !leaf.purposes.includes(purposeOid.server))
    return refuse("constraints", "the certificate is not meant for serving");
  if (!namesHost(leaf.names, options.host))
    return refuse("identity", `the certificate is not for ${options.host}`);
  return judge(certificates, trust, nowMs, { ...options, who: options.host });
}

/** Judges against the trust that claims the leaf's domain; a leaf of no trusted domain is refused. */
export function verifyAgainst(
  certificates: readonly Certificate[],
  trusts: readonly Trust[],
  nowMs: number,
  options: VerifyOptions = {},
): Verdict {
  const [leaf] = certificates;
  if (!leaf) return refuse("none", "no certificate was sent");
  const [uri = ""] = leaf.names.uris;
  const domain = parseSpiffeId(uri)?.trustDomain;
  let verdict: Verdict | undefined;
  for (const trust of trusts) {
    if (trust.trustDomain !== domain) continue;
    verdict = verifyCertificates(certificates, trust, nowMs, options);
    if (verdict.ok) return verdict;
  }
  if (verdict) return verdict;
  return domain === undefined || leaf.names.uris.length !== 1
    ? refuse(
        "identity",
        `the certificate names ${leaf.names.uris.length} usable identities, not one`,
      )
    : refuse("wrong-trust-domain", `${uri} is of a domain that is not trusted here`);
}

/** The subject of a leaf, without judging who signed it; undefined unless it has exactly one id. */
export function spiffeIdOf(certificate: Certificate): Subject | undefined {
  const [uri, ...more] = certificate.names.uris;
  return uri === undefined || more.length > 0 ? undefined : parseSpiffeId(uri);
}

const anchorsByTrust = new WeakMap<Trust, readonly Certificate[]>();

function anchorsOf(trust: Trust): readonly Certificate[] {
  const known = anchorsByTrust.get(trust);
  if (known) return known;
  const anchors = trust.anchorsPem.flatMap(readCertificatesPem);
  anchorsByTrust.set(trust, anchors);
  return anchors;
}

function identify(leaf: Certificate, trust: Trust) {
  const { names } = leaf;
  if (leaf.isAuthority) return refuse("identity", "an authority's certificate is no identity");
  const subject = spiffeIdOf(leaf);
  if (!subject) {
    return refuse(
      "identity",
      names.uris.length === 1
        ? `"${names.uris[0]}" is not a SPIFFE id of this system`
        : `the certificate names ${names.uris.length} identities, not one`,
    );
  }
  if (names.dns.length + names.ips.length + names.others > 0)
    return refuse("identity", `${subject.id}: an identity certificate carries no other name`);
  if (leaf.purposes && !leaf.purposes.includes(purposeOid.client))
    return refuse("constraints", "the certificate is not meant for an identity");
  if (subject.trustDomain !== trust.trustDomain)
    return refuse("wrong-trust-domain", `${subject.id} is not of ${trust.trustDomain}`);
  return { ok: true as const, subject };
}

function namesHost(names: Names, host: string): boolean {
  if (isIP(host) === 0) return names.dns.includes(host.toLowerCase());
  const wanted = ipBytes(host);
  return names.ips.some((ip) => Buffer.compare(ip, wanted) === 0);
}

type JudgeOptions = VerifyOptions & { readonly who: string };

function judge(
  certificates: readonly Certificate[],
  trust: Trust,
  nowMs: number,
  options: JudgeOptions,
): Validity | Refusal {
  const [leaf, ...others] = certificates as [Certificate];
  let verdict: Validity | Refusal = refuse(
    "foreign",
    `${options.who}: no signature leads to an anchor of ${trust.trustDomain}`,
  );
  for (const path of paths([leaf], others, anchorsOf(trust))) {
    verdict = judgePath(path, nowMs, options);
    if (verdict.ok) break;
  }
  return verdict;
}

/** Every way from the leaf to an anchor along signatures that hold, shortest first. */
function* paths(
  path: readonly Certificate[],
  others: readonly Certificate[],
  anchors: readonly Certificate[],
): Generator<readonly Certificate[]> {
  const last = path.at(-1);
  if (!last || path.length > chainMax) return;
  const issued = (issuer: Certificate) =>
    issuer.mayIssue && Buffer.compare(last.issuer, issuer.subject) === 0 && last.isSignedBy(issuer);
  for (const anchor of anchors) if (issued(anchor)) yield [...path, anchor];
  for (const next of others) {
    // A self-issued authority would slip past the path length (RFC 5280, 6.1.4 l).
    if (path.includes(next) || Buffer.compare(next.issuer, next.subject) === 0) continue;
    if (issued(next)) yield* paths([...path, next], others, anchors);
  }
}

function judgePath(
  path: readonly Certificate[],
  nowMs: number,
  { who, time = "strict" }: JudgeOptions,
): Validity | Refusal {
  const [leaf] = path as [Certificate];
  for (const [index, certificate] of path.entries()) {
    const { unacceptable, pathLength } = certificate;
    if (unacceptable !== undefined)
      return refuse("constraints", `${who}: ${unacceptable} is not accepted`);
    if (index === 0) continue;
    if (pathLength < index - 1)
      return refuse("constraints", `${who}: more authorities in its chain than allowed`);
    const broken = constraintBroken(leaf.names, certificate);
    if (broken) return refuse("constraints", `${who}: its authority may not issue ${broken}`);
  }
  const fromMs = Math.max(...path.map(({ notBeforeMs }) => notBeforeMs));
  const untilMs = Math.min(...path.map(({ notAfterMs }) => notAfterMs));
  const atMs = time === "raise-to-leaf" ? Math.max(nowMs, leaf.notBeforeMs) : nowMs;
  if (atMs < fromMs)
    return refuse("not-yet-valid", `${who}: valid from ${iso(fromMs)}, now ${iso(atMs)}`);
  if (atMs > untilMs && time !== "ignore-expiry")
    return refuse("expired", `${who}: valid until ${iso(untilMs)}, now ${iso(atMs)}`);
  return { ok: true, fromMs, untilMs };
}

const iso = (ms: number) => new Date(ms).toISOString();

function refuse(reason: RefusalReason, message: string): Refusal {
  return { ok: false, reason, message };
}

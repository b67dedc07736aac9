/**
 * Application tokens: compact JWS (RFC 7515) with ES256, signed by a node's identity key with its
 * leaf in `x5c`. Any node mints and checks them with no server reachable. They open the gateway and
 * MQTT, never the cell API, and never speak for a node or a hub.
 */
import { createHash, createPrivateKey, sign, verify } from "node:crypto";
import { explain, SkerryError } from "../../lib/errors.ts";
import { readCertificate, readCertificatesPem } from "../certificates/certificate.ts";
import { verifyChain } from "../certificates/verify-chain.ts";
import type { Credentials, Trust } from "../credentials.ts";
import { parseSpiffeId, type SpiffeId, type Subject } from "../spiffe.ts";

export type AppTokenVerdict =
  | {
      readonly ok: true;
      readonly subject: Subject;
      /** The node that minted it. */
      readonly issuer: SpiffeId;
      readonly expiresAtMs: number;
    }
  | {
      readonly ok: false;
      readonly reason:
        | "malformed"
        | "signature"
        | "issuer"
        | "subject"
        | "expired"
        | "not-yet-valid";
      readonly message: string;
    };

const tokenCharactersMax = 8192;
const subjectKinds = ["app", "ns", "user"];

/**
 * A token for `subject`. It ends with the node's leaf at the latest. Throws `invalid-identity` for a
 * subject that tokens cannot speak for, `certificate-unreadable`, `invalid-key`.
 */
export function mintAppToken(
  deps: { nowMs: () => number; credentials: Credentials },
  options: { subject: Subject; lifetimeMs: number },
): { token: string; expiresAtMs: number } {
  const { subject } = options;
  const [leaf] = readCertificatesPem(deps.credentials.chainPem);
  const issuer = leaf && parseSpiffeId(leaf.names.uris[0] ?? "");
  if (!leaf || !issuer || !maySpeakFor(issuer, subject)) {
    throw new SkerryError({
      code: "invalid-identity",
      message: `${issuer?.id ?? "this certificate"} cannot mint a token for ${subject.id}`,
      hint: "tokens are for applications, service accounts and users of the node's own cell",
    });
  }
  const nowMs = deps.nowMs();
  const expiresAtMs = Math.min(nowMs + options.lifetimeMs, leaf.notAfterMs);
  const header = { alg: "ES256", typ: "JWT", x5c: [Buffer.from(leaf.der).toString("base64")] };
  const payload = {
    sub: subject.id,
    iss: issuer.id,
    aud: issuer.trustDomain,
    iat: Math.floor(nowMs / 1000),
    exp: Math.floor(expiresAtMs / 1000),
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part(header)}.${part(payload)}`;
  const key = createPrivateKey(deps.credentials.keyPem);
  const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return { token: `${signed}.${signature.toString("base64url")}`, expiresAtMs };
}

/** Checks a token from scratch: about 0.3 ms. Servers use `createAppTokenVerifier`. */
export function verifyAppToken(
  token: string,
  trust: Trust,
  nowMs: number,
  maxClockSkewMs: number,
): AppTokenVerdict {
  if (token.length > tokenCharactersMax) return refuse("malformed", "the token is too long");
  const parts = token.split(".");
  const [head = "", body = "", mark = ""] = parts;
  const header = parts.length === 3 ? readPart(head) : undefined;
  const payload = readPart(body);
  const chain = header?.["x5c"];
  if (!header || !payload || header["alg"] !== "ES256" || !isTexts(chain))
    return refuse("malformed", "not an ES256 token with its certificate");
  const { sub, iss, aud, iat, exp } = payload;
  if (typeof sub !== "string" || typeof iat !== "number" || typeof exp !== "number")
    return refuse("malformed", "the token lacks sub, iat or exp");

  const ders = chain.map((each) => Buffer.from(each, "base64"));
  const verdict = verifyChain(ders, trust, nowMs);
  if (!verdict.ok) return refuse("issuer", verdict.message);
  const issuer = verdict.subject;
  const signature = Buffer.from(mark, "base64url");
  const key = { key: verdict.leaf.publicKey, dsaEncoding: "ieee-p1363" as const };
  if (signature.length !== 64 || !verify("sha256", Buffer.from(`${head}.${body}`), key, signature))
    return refuse("signature", "the token's signature does not hold");
  const subject = parseSpiffeId(sub);
  if (iss !== issuer.id || aud !== trust.trustDomain || !subject || !maySpeakFor(issuer, subject))
    return refuse("subject", `${issuer.id} cannot speak for ${sub}`);
  if (nowMs > exp * 1000 + maxClockSkewMs)
    return refuse("expired", `the token of ${sub} has expired`);
  if (nowMs < iat * 1000 - maxClockSkewMs)
    return refuse("not-yet-valid", `the token of ${sub} was made in the future`);
  return { ok: true, subject, issuer: issuer.id, expiresAtMs: exp * 1000 };
}

export interface AppTokenVerifier {
  /** Cheap for a token seen before: one hash and a comparison of times. */
  verify(token: string): AppTokenVerdict;
}

/** Remembers the last `tokensMax` good tokens (default 1024) until they end or trust changes. */
export function createAppTokenVerifier(
  deps: { nowMs: () => number; trust: () => Trust },
  options: { maxClockSkewMs?: number; tokensMax?: number } = {},
): AppTokenVerifier {
  const { maxClockSkewMs = 60_000, tokensMax = 1024 } = options;
  const goodByHash = new Map<
    string,
    { verdict: AppTokenVerdict & { ok: true }; untilMs: number }
  >();
  let trusted: string | undefined;
  return {
    verify(token) {
      const trust = deps.trust();
      const nowMs = deps.nowMs();
      const trusting = trust.trustDomain + trust.anchorsPem.join("");
      if (trusting !== trusted) goodByHash.clear();
      trusted = trusting;
      if (token.length > tokenCharactersMax) return refuse("malformed", "the token is too long");
      const hash = createHash("sha256").update(token).digest("base64");
      const known = goodByHash.get(hash);
      if (known && nowMs <= known.untilMs) return known.verdict;
      goodByHash.delete(hash);
      const verdict = verifyAppToken(token, trust, nowMs, maxClockSkewMs);
      if (!verdict.ok) return verdict;
      const untilMs = Math.min(verdict.expiresAtMs + maxClockSkewMs, leafEndMs(token));
      goodByHash.set(hash, { verdict, untilMs });
      const [oldest] = goodByHash.keys();
      if (goodByHash.size > tokensMax && oldest !== undefined) goodByHash.delete(oldest);
      return verdict;
    },
  };
}

/** When the leaf of a verified token ends. */
function leafEndMs(token: string): number {
  const chain = readPart(token.split(".")[0] ?? "")?.["x5c"];
  const [leaf] = isTexts(chain) ? chain : [];
  return leaf === undefined ? 0 : readCertificate(Buffer.from(leaf, "base64")).notAfterMs;
}

/** A node speaks for applications, service accounts and users of its own cell. */
function maySpeakFor(issuer: Subject, subject: Subject): boolean {
  return (
    issuer.path[0] === "node" &&
    issuer.trustDomain === subject.trustDomain &&
    subjectKinds.includes(subject.path[0] ?? "")
  );
}

function readPart(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString());
    return typeof value === "object" && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw new SkerryError({ code: "internal", message: explain(error), cause: error });
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= 4 &&
    value.every((each) => typeof each === "string")
  );
}

function refuse(reason: Extract<AppTokenVerdict, { ok: false }>["reason"], message: string) {
  return { ok: false as const, reason, message };
}

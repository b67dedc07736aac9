/**
 * TLS as Skerry speaks it: 1.3 only, no session tickets (a resumed session accepts an expired client
 * certificate), and no word of Node's about the peer believed. Whoever uses these options must ask
 * `verifyPeer` (or `verifyServer`) before reading a byte: `rejectUnauthorized` is off because Node
 * hides a wrong signature behind a time error and judges by the host's clock.
 */
import { constants } from "node:crypto";
import type { ConnectionOptions, TLSSocket, TlsOptions } from "node:tls";
import { SkerryError } from "../lib/errors.ts";
import { readCertificate, type Certificate } from "./certificates/certificate.ts";
import {
  verifyAgainst,
  verifyServing,
  type Refusal,
  type Validity,
  type Verdict,
  type VerifyOptions,
} from "./certificates/verify-chain.ts";
import type { Credentials, Trust } from "./credentials.ts";

type SecureOptions = {
  readonly credentials?: Credentials;
  /** Whose anchors to name to the peer; without any, Node would load all public ones. */
  readonly trusts: readonly Trust[];
  readonly alpn?: readonly string[];
};

/** For `tls.createServer`, `https.createServer` and `setSecureContext`. */
export function serverTlsOptions(
  options: SecureOptions & { readonly credentials: Credentials; readonly requestCert: boolean },
): TlsOptions {
  // No anchors here: once OpenSSL has verified a chain by itself, Node (seen in 24.21) gives out the
  // leaf alone on the server's side, and our own judgement misses the intermediates that were sent.
  return { ...common(options), ca: [], requestCert: options.requestCert };
}

/** For `tls.connect`. */
export function clientTlsOptions(options: SecureOptions): ConnectionOptions {
  return { ...common(options), checkServerIdentity: () => undefined };
}

function common({ credentials, trusts, alpn }: SecureOptions) {
  return {
    ...(credentials && { key: credentials.keyPem, cert: credentials.chainPem }),
    // At a hub thousands of domains rest on one anchor.
    ca: [...new Set(trusts.flatMap(({ anchorsPem }) => anchorsPem))],
    minVersion: "TLSv1.3" as const,
    secureOptions: constants.SSL_OP_NO_TICKET,
    rejectUnauthorized: false,
    ...(alpn && { ALPNProtocols: [...alpn] }),
  };
}

/** More certificates than any chain of ours; the rest is not looked at. */
const chainMax = 6;
type PerSocket = {
  readonly chain: readonly Certificate[];
  trusts?: readonly Trust[];
  verdict?: Verdict;
};
const stateBySocket = new WeakMap<TLSSocket, PerSocket>();

/** The peer's chain, read once per socket; empty when it sent none. Throws `certificate-unreadable`. */
export function chainOf(socket: TLSSocket): readonly Certificate[] {
  return stateOf(socket).chain;
}

function stateOf(socket: TLSSocket): PerSocket {
  const known = stateBySocket.get(socket);
  if (known) return known;
  const chain: Certificate[] = [];
  const seen = new Set<object>();
  let current = socket.getPeerCertificate(true);
  while (current?.raw && !seen.has(current) && chain.length < chainMax) {
    seen.add(current);
    chain.push(readCertificate(current.raw));
    current = current.issuerCertificate;
  }
  const state: PerSocket = { chain };
  stateBySocket.set(socket, state);
  return state;
}

/**
 * Who is at the other end of a TLS connection, judged at the cell's time. Signatures are checked
 * once per socket and set of trusts, the validity on every call, so that a pooled connection does
 * not outlive its certificate.
 */
export function verifyPeer(
  socket: TLSSocket,
  trusts: readonly Trust[],
  nowMs: number,
  options: VerifyOptions = {},
): Verdict {
  let state: PerSocket;
  try {
    state = stateOf(socket);
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    return { ok: false, reason: "unreadable", message: error.message };
  }
  const { verdict } = state;
  const isCached = options.time === undefined && verdict?.ok && sameTrusts(state.trusts, trusts);
  if (isCached && nowMs >= verdict.fromMs && nowMs <= verdict.untilMs) return verdict;
  const judged = verifyAgainst(state.chain, trusts, nowMs, options);
  if (options.time === undefined) {
    state.trusts = [...trusts];
    state.verdict = judged;
  }
  return judged;
}

/** Judges the serving certificate at the other end by the host that was asked for. */
export function verifyServer(
  socket: TLSSocket,
  trust: Trust,
  nowMs: number,
  options: VerifyOptions & { readonly host: string },
): Validity | Refusal {
  try {
    return verifyServing(chainOf(socket), trust, nowMs, options);
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    return { ok: false, reason: "unreadable", message: error.message };
  }
}

function sameTrusts(left: readonly Trust[] | undefined, right: readonly Trust[]): boolean {
  return (
    left?.length === right.length &&
    left.every((trust, index) => {
      const other = right[index];
      return (
        trust === other ||
        (trust.trustDomain === other?.trustDomain &&
          trust.anchorsPem.length === other.anchorsPem.length &&
          trust.anchorsPem.every((pem, at) => pem === other.anchorsPem[at]))
      );
    })
  );
}

/**
 * `skerry-enrol/1`, joining side. The secret is sent only after the other end has shown an anchor
 * whose key the token pins and a machine's leaf, signed by that anchor, whose key it holds.
 */
import { connect, type TLSSocket } from "node:tls";
import {
  chainOf,
  clientTlsOptions,
  readCertificatesPem,
  spkiPin,
  toPem,
  verifyCertificates,
  type Certificate,
} from "../../identity/index.ts";
import { deadline, type Clock } from "../../lib/clock.ts";
import { decodeError, SkerryError, type EncodedError } from "../../lib/errors.ts";
import { isMachine } from "../peers.ts";
import { refuseForeign, secured } from "../terminated.ts";
import { connectThrough, type Proxy } from "../through-proxy.ts";
import { alpn, identityServerName, peerRefused } from "../tls.ts";
import { answerBytesMax, createMessageReader, writeMessage } from "./message.ts";

export type EnrolOptions = {
  readonly host: string;
  readonly port: number;
  /** The way out; absent: straight there. */
  readonly proxy?: Proxy | undefined;
  /** From the token: whose anchor, and base64url(SHA-256) of its public key. */
  readonly trustDomain: string;
  readonly pin: string;
  readonly request: Uint8Array;
  /** Default 15 s for everything. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
};

/**
 * Sends one request, gives its answer. Throws `enrol-wrong-authority` when the pin does not match,
 * `peer-refused`, `peer-unreachable`, `tls-terminated`, `enrol-protocol`, `enrol-timeout`, and what the other side threw.
 *
 * A clock that lies before the server's leaf is raised to it: a machine that never knew the time may
 * join, since the pin, not the clock, decides whom it believes.
 */
export async function enrol(
  deps: { clock: Clock; nowMs: () => number },
  options: EnrolOptions,
): Promise<Uint8Array> {
  const { host, port } = options;
  const limit = deadline(deps.clock, options.timeoutMs ?? 15_000, {
    ...(options.signal && { parent: options.signal }),
    reason: () =>
      new SkerryError({
        code: "enrol-timeout",
        message: `${host}:${port} did not answer the enrolment in time`,
        retryable: true,
      }),
  });
  const { signal } = limit;
  let socket: TLSSocket | undefined;
  const onAbort = () => socket?.destroy(signal.reason as Error);
  signal.addEventListener("abort", onAbort);
  try {
    const way = options.proxy
      ? { socket: await connectThrough(options.proxy, { host, port }, signal) }
      : { host, port };
    socket = connect({
      ...clientTlsOptions({ trusts: [], alpn: [alpn.enrol] }),
      ...way,
      servername: identityServerName,
    });
    await secured(socket, `${host}:${port}`);
    refuseForeign(socket, `${host}:${port}`);
    if (socket.alpnProtocol !== alpn.enrol) {
      throw new SkerryError({
        code: "enrol-protocol",
        message: `${host}:${port} does not enrol`,
        hint: "give the peers port of a server, or the hub's port",
      });
    }
    const reader = createMessageReader(socket);
    const hello = parse(await reader.next({ bytesMax: answerBytesMax, signal }));
    judgeServer(socket, anchorsOf(hello), { ...options, nowMs: deps.nowMs() });
    writeMessage(socket, options.request);
    parse(await reader.next({ bytesMax: answerBytesMax, signal }));
    return await reader.next({ bytesMax: answerBytesMax, signal });
  } finally {
    limit.done();
    signal.removeEventListener("abort", onAbort);
    socket?.destroy();
  }
}

/** Throws unless the server proved to hold a machine's leaf under the pinned anchor. */
function judgeServer(
  socket: TLSSocket,
  anchorsPem: readonly string[],
  { trustDomain, pin, nowMs }: EnrolOptions & { nowMs: number },
): void {
  const pinned = anchorsPem.flatMap(readCertificatesPem).find((anchor) => pinOf(anchor) === pin);
  const wrongAuthority = () =>
    new SkerryError({
      code: "enrol-wrong-authority",
      message: `the other side is not the ${trustDomain} that the token was made for`,
      hint: "check the address, and copy the whole token again; the secret was not sent",
    });
  if (!pinned) throw wrongAuthority();
  const trust = { trustDomain, anchorsPem: [toPem(pinned.der)] };
  const verdict = verifyCertificates(chainOf(socket), trust, nowMs, { time: "raise-to-leaf" });
  if (!verdict.ok)
    throw verdict.reason === "wrong-trust-domain" ? wrongAuthority() : peerRefused(verdict);
  if (!isMachine(verdict.subject)) {
    throw peerRefused({
      reason: "not-allowed",
      message: `${verdict.subject.id} may not take enrolments`,
    });
  }
}

const pinOf = (certificate: Certificate) =>
  spkiPin(certificate.publicKey.export({ type: "spki", format: "der" }));

function parse(message: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(message).toString());
  } catch (cause) {
    throw new SkerryError({
      code: "enrol-protocol",
      message: "the other side of the enrolment sent no JSON",
      cause,
    });
  }
  const fields = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const error = fields["error"] as EncodedError | undefined;
  if (error && typeof error.code === "string") throw decodeError(error);
  return fields;
}

function anchorsOf(hello: Record<string, unknown>): readonly string[] {
  const anchors = hello["anchorsPem"];
  return Array.isArray(anchors)
    ? anchors.filter((anchor): anchor is string => typeof anchor === "string")
    : [];
}

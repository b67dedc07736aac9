/**
 * What shows that something between two machines ends their TLS (a balancer, a firewall that inspects):
 * neither side could prove to the other who it is. Told in words, because what follows from it, a link
 * that never comes up, looks like any other refusal.
 */
import type { TLSSocket } from "node:tls";
import { SkerryError, systemCode } from "../lib/errors.ts";
import type { Audit } from "./audit.ts";
import { alpn, identityServerName } from "./tls.ts";

const passThrough =
  "pass TCP through between cell and hub: no TLS termination, offloading or inspection there";

/** The dialling side, after the handshake: throws `tls-terminated` unless a machine of Skerry answers. */
export function refuseForeign(socket: TLSSocket, where: string): void {
  // Not `getPeerX509Certificate`: it takes the leaf out of the chain that judges read afterwards.
  const { raw, subject, issuer, subjectaltname = "" } = socket.getPeerCertificate();
  // A serving leaf is Skerry's as well: a wrong port, told by the protocol.
  const isOurs = /URI:spiffe:|DNS:[a-z0-9.-]+\.skerry\b/.test(subjectaltname);
  // Without any, whoever judges the peer says so.
  if (!raw || isOurs) return;
  const name = ({ CN, O }: { CN?: string | string[]; O?: string | string[] }) =>
    String(CN ?? O ?? "nobody")
      .replaceAll(/[^\x20-\x7e]+/g, "?")
      .slice(0, 100);
  throw terminated(`${where} shows a certificate for ${name(subject)}, issued by ${name(issuer)}`);
}

/** The dialling side: the handshake is done. Throws `peer-unreachable`, `tls-terminated`, or why it was ended. */
export function secured(socket: TLSSocket, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onClose = () => onError(new Error("the connection ended"));
    const onError = (cause: Error) => {
      if (cause instanceof SkerryError) return reject(cause);
      const code = systemCode(cause) ?? "";
      // An alert, or no TLS at all, is none of Skerry's.
      if (/^ERR_SSL_|^EPROTO$/.test(code))
        return reject(
          terminated(`${where} does not take the TLS of cells and hubs (${code})`, cause),
        );
      reject(
        new SkerryError({
          code: "peer-unreachable",
          message: `cannot reach ${where}`,
          retryable: true,
          cause,
        }),
      );
    };
    socket.on("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", resolve);
  });
}

const terminated = (what: string, cause?: unknown) =>
  new SkerryError({
    code: "tls-terminated",
    message: `${what}: something on the way ends TLS, or the port is the wrong one`,
    hint: passThrough,
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });

/** The accepting side, of a handshake that failed: a hint when it began as nobody's who goes straight. */
export const hintOfTls = (error: unknown): { hint?: string } =>
  /^ERR_SSL_(?:HTTP_REQUEST|WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|UNKNOWN_PROTOCOL)$/.test(
    systemCode(error) ?? "",
  )
    ? { hint: `what connects speaks no TLS 1.3. ${passThrough}` }
    : {};

/** The accepting side: counts connections by which somebody else's TLS shows, and says so once. */
export function watchForeign(audit: Audit, socket: TLSSocket): void {
  if (socket.getPeerCertificate().raw) return;
  const tell = (why: string) => {
    audit.refused(
      "tls-terminated",
      { remote: socket.remoteAddress, why, hint: passThrough },
      { isLoud: !audit.refusedByReason.has("tls-terminated") },
    );
  };
  const asked = (socket as { servername?: unknown }).servername;
  if (socket.alpnProtocol === alpn.link || asked === identityServerName)
    return tell("a link was begun without a client's certificate");
  if (socket.alpnProtocol) return;
  socket.once("close", () => {
    if (socket.bytesRead === 0)
      tell(
        "TLS without a client's certificate ended without a word: a balancer that ends TLS, or checks whether this port lives by TLS",
      );
  });
}

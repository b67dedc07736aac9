/**
 * TLS for the other rooms: options, the judgement of a socket's peer (both from identity), and a
 * connector for HTTPS clients that judges a serving certificate at the cell's time.
 */
import { connect, type TLSSocket } from "node:tls";
import { clientTlsOptions, verifyServer, type Credentials, type Trust } from "../identity/index.ts";
import { SkerryError } from "../lib/errors.ts";

export { clientTlsOptions, serverTlsOptions, verifyPeer, verifyServer } from "../identity/index.ts";
export type { Credentials, Trust } from "../identity/index.ts";

/** The server name by which links and enrolment ask a shared port for the identity leaf. */
export const identityServerName = "identity.skerry";

export const alpn = { link: "skerry-link/1", enrol: "skerry-enrol/1", http: "http/1.1" } as const;

/** The shape that undici's `connect` option takes. */
export type Connector = (
  options: { readonly hostname: string; readonly port?: string | number },
  callback: (error: Error | null, socket: TLSSocket | null) => void,
) => void;

/**
 * Connects to an HTTPS server of a cell or of the hub and hands the socket over only when its
 * serving certificate is for `host` and leads to an anchor of `trust` (`peer-refused` otherwise).
 */
export function createHttpsConnector(
  deps: { nowMs: () => number },
  options: {
    readonly trust: () => Trust;
    /** `api.<cell>.skerry` */
    readonly host: string;
    /** The client's identity, where the server asks for one. */
    readonly credentials?: () => Credentials;
  },
): Connector {
  return ({ hostname, port }, callback) => {
    const trust = options.trust();
    const socket = connect({
      ...clientTlsOptions({
        credentials: options.credentials?.(),
        trusts: [trust],
        alpn: [alpn.http],
      }),
      host: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port ?? 443),
      servername: options.host,
    });
    socket.setNoDelay(true);
    const onError = (error: Error) => callback(error, null);
    socket.once("error", onError);
    socket.once("secureConnect", () => {
      socket.removeListener("error", onError);
      const verdict = verifyServer(socket, trust, deps.nowMs(), { host: options.host });
      if (verdict.ok) return callback(null, socket);
      socket.destroy();
      callback(peerRefused(verdict), null);
    });
  };
}

export function peerRefused(refusal: { reason: string; message: string }): SkerryError {
  return new SkerryError({
    code: "peer-refused",
    message: refusal.message,
    hint: "see the reason in the log of the side that refused",
    details: { reason: refusal.reason },
  });
}

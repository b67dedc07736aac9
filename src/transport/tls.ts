/**
 * TLS for the other rooms: options and the judgement of a socket's peer, both from identity, so that
 * pillars (which see only transport) and the API server (which sees only identity) use the same.
 */
import { SkerryError } from "../lib/errors.ts";

export { clientTlsOptions, serverTlsOptions, verifyPeer, verifyServer } from "../identity/index.ts";
export type { Credentials, Trust } from "../identity/index.ts";

/** The server name by which links and enrolment ask a shared port for the identity leaf. */
export const identityServerName = "identity.skerry";

export const alpn = { link: "skerry-link/1", enrol: "skerry-enrol/1", http: "http/1.1" } as const;

export function peerRefused(refusal: { reason: string; message: string }): SkerryError {
  return new SkerryError({
    code: "peer-refused",
    message: refusal.message,
    hint: "see the reason in the log of the side that refused",
    details: { reason: refusal.reason },
  });
}

/** Who may hold a link: judged from a socket's certificate. */
import type { TLSSocket } from "node:tls";
import { verifyPeer, type Subject, type Trust } from "../identity/index.ts";
import type { Peer } from "./transport.ts";

export type PeerVerdict =
  | { readonly ok: true; readonly peer: Peer }
  | { readonly ok: false; readonly reason: string; readonly message: string };

/**
 * Links are for machines: an application or a person holds a certificate of the same authority and
 * must not be able to speak as a node or to pose as a server.
 */
export const isMachine = ({ path }: Subject): boolean => path[0] === "node" || path[0] === "hub";

export function judgePeer(
  socket: TLSSocket,
  trusts: readonly Trust[],
  options: {
    readonly nowMs: number;
    readonly accepts: (peer: Peer) => boolean;
  },
): PeerVerdict {
  const verdict = verifyPeer(socket, trusts, options.nowMs);
  if (!verdict.ok) return verdict;
  if (!options.accepts(verdict.subject)) {
    return {
      ok: false,
      reason: "not-allowed",
      message: `${verdict.subject.id} may not hold this link`,
    };
  }
  return { ok: true, peer: verdict.subject };
}

/** Who may hold a link: judged from a socket's certificate. */
import type { TLSSocket } from "node:tls";
import { verifyPeer, type Subject, type Trust } from "../identity/index.ts";
import type { Peer } from "./transport.ts";

/** What links have to do with time beyond `nowMs`, by which peers are judged. */
export type PeerTime = {
  /** What peers are told. */
  tellMs(): number;
  observe(peer: string, theirNowMs: number): void;
  /** A peer that is who it says, but whose certificates do not hold at `nowMs`. */
  dispute(peer: string, validity: { readonly fromMs: number; readonly untilMs: number }): void;
};

/** The part of it that a link itself needs. */
export const linkTime = (
  { nowMs }: { nowMs: () => number },
  time: PeerTime | undefined,
): { tellMs: () => number; onPeerTime?: (peer: Peer, theirNowMs: number) => void } =>
  time
    ? {
        tellMs: () => time.tellMs(),
        onPeerTime: (peer, theirNowMs) => time.observe(peer.id, theirNowMs),
      }
    : { tellMs: nowMs };

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
    readonly time?: PeerTime | undefined;
  },
): PeerVerdict {
  const verdict = verifyPeer(socket, trusts, options.nowMs);
  if (!verdict.ok) {
    if (options.time)
      tellDispute(socket, trusts, verdict.reason, { ...options, time: options.time });
    return verdict;
  }
  if (!options.accepts(verdict.subject)) {
    return {
      ok: false,
      reason: "not-allowed",
      message: `${verdict.subject.id} may not hold this link`,
    };
  }
  return { ok: true, peer: verdict.subject };
}

/** The handshake proved the peer's key; when all but the time holds, one of the two clocks is wrong. */
function tellDispute(
  socket: TLSSocket,
  trusts: readonly Trust[],
  reason: string,
  options: { nowMs: number; accepts: (peer: Peer) => boolean; time: PeerTime },
): void {
  const leniency = { expired: "ignore-expiry", "not-yet-valid": "raise-to-leaf" } as const;
  if (reason !== "expired" && reason !== "not-yet-valid") return;
  const verdict = verifyPeer(socket, trusts, options.nowMs, { time: leniency[reason] });
  if (verdict.ok && options.accepts(verdict.subject))
    options.time.dispute(verdict.subject.id, { fromMs: verdict.fromMs, untilMs: verdict.untilMs });
}

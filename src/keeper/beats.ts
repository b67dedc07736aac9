/**
 * The node's heart: a signed datagram to every peer's peers port, four times a second, whether the
 * agent lives or not; that is what tells a dead machine from a dead agent. Nothing here waits for a
 * disk. What the beat says of others comes from the agent and ages while the agent is silent.
 */
import { createPrivateKey, sign, type KeyObject } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { beatBytesMax, encodeBeat } from "../api/records/index.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { BeatConfiguration, BeatPeer, Hello } from "./protocol.ts";

const periodMs = 250;
/** A peer that cannot be sent to is named in the log this often at most. */
const complainEveryMs = 60_000;

export interface Beats {
  readonly sent: number;
  readonly peers: number;
  /** Throws `invalid-beats` naming the field. */
  configure(configuration: BeatConfiguration): void;
  heard(agesMs: Readonly<Record<string, number>>): void;
  close(): void;
}

export function createBeats(deps: {
  readonly clock: Clock;
  readonly log: Log;
  readonly hello: Hello;
  readonly agentUp: () => boolean;
}): Beats {
  const { clock, log } = deps;
  let current: { node: string; certificate: Buffer; key: KeyObject } | undefined;
  let peers: readonly BeatPeer[] = [];
  let heard: { agesMs: Readonly<Record<string, number>>; atMs: number } | undefined;
  let socket: { socket: Socket; address: string | undefined } | undefined;
  let sequence = 0;
  let sent = 0;
  let complainedMs = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;

  const complain = (error: unknown) => {
    if (clock.monotonicMs() - complainedMs < complainEveryMs) return;
    complainedMs = clock.monotonicMs();
    log.warn("a beat cannot be sent", { error });
  };

  const beat = () => {
    timer = clock.after(clock.untilNext?.(periodMs) ?? periodMs, beat);
    if (!current || !socket || peers.length === 0) return;
    const sinceMs = heard ? clock.monotonicMs() - heard.atMs : 0;
    const ages = Object.entries(heard?.agesMs ?? {}).map(
      ([node, ageMs]) => [node, Math.round(ageMs + sinceMs)] as const,
    );
    const signed = encodeBeat(current.certificate, {
      node: current.node,
      bootId: deps.hello.bootId,
      keeperStartedMs: deps.hello.startedMs,
      sequence: ++sequence,
      agent: deps.agentUp() ? "up" : "down",
      heard: Object.fromEntries(ages),
    });
    const signature = sign("sha256", signed, { key: current.key, dsaEncoding: "ieee-p1363" });
    const datagram = Buffer.concat([signed, signature]);
    if (datagram.length > beatBytesMax) {
      return complain(new Error(`a beat of ${datagram.length} bytes is above ${beatBytesMax}`));
    }
    for (const { host, port } of peers) {
      socket.socket.send(datagram, port, host, (error) => {
        if (error) complain(error);
        else sent++;
      });
    }
  };

  const openSocket = (address: string | undefined, host: string) => {
    if (socket && socket.address === address) return;
    socket?.socket.close();
    const made = createSocket(isIPv6(address ?? host) ? "udp6" : "udp4");
    made.on("error", complain);
    made.unref();
    if (address !== undefined) made.bind({ address, port: 0 });
    socket = { socket: made, address };
  };

  return {
    get sent() {
      return sent;
    },
    get peers() {
      return peers.length;
    },
    configure(next) {
      const refuse = (field: string, hint: string, cause?: unknown): never => {
        throw new SkerryError({
          code: "invalid-beats",
          message: `${field} is not allowed`,
          hint,
          cause,
        });
      };
      if (typeof next?.node !== "string" || next.node === "") refuse("node", "the node's name");
      if (typeof next.certificateBase64 !== "string") refuse("certificateBase64", "DER in base64");
      const bad = (Array.isArray(next.peers) ? next.peers : [undefined]).findIndex(
        (peer: Partial<BeatPeer> | undefined) =>
          typeof peer?.host !== "string" || !((peer.port ?? 0) > 0 && (peer.port ?? 0) < 65_536),
      );
      if (bad >= 0) refuse(`peers[${bad}]`, "an address and a port from 1 to 65535");
      let key: KeyObject;
      try {
        key = createPrivateKey(next.keyPem);
      } catch (cause) {
        return refuse("keyPem", "a PKCS #8 private key in PEM", cause);
      }
      if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") refuse("keyPem", "a P-256 key");
      openSocket(next.bindAddress, next.peers[0]?.host ?? "");
      current = {
        node: next.node,
        certificate: Buffer.from(next.certificateBase64, "base64"),
        key,
      };
      peers = next.peers;
      if (!timer) beat();
    },
    heard(agesMs) {
      const valid = Object.entries(agesMs ?? {}).filter(([, ageMs]) => ageMs >= 0);
      heard = { agesMs: Object.fromEntries(valid), atMs: clock.monotonicMs() };
    },
    close() {
      timer?.cancel();
      socket?.socket.close();
    },
  };
}

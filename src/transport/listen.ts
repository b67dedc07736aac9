/**
 * The accepting side: one port that tells links, enrolment and (at the hub) HTTPS apart by ALPN. No
 * byte of a link is read before its peer is judged.
 */
import { createServer, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import {
  createServer as createPort,
  isIP,
  type AddressInfo,
  type Server,
  type Socket,
} from "node:net";
import { serverTlsOptions, type Credentials, type Trust } from "../identity/index.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { encodeError, SkerryError, systemCode } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { createConnectionGate } from "../runtime/connections/index.ts";
import { createSignals } from "../lib/signals.ts";
import { createAudit, type Audit, type Refusal } from "./audit.ts";
import { createFront, type Balancers } from "./balancers.ts";
import { awaitHello } from "./client-hello.ts";
import { createHandshakes, type HandshakeLimits } from "./handshakes.ts";
import { createEnrolServer, type EnrolHandler } from "./enrolment/serve.ts";
import { encodeFrame } from "./link/frames.ts";
import { defaultLimits, type LinkLimits } from "./link/limits.ts";
import { createLink, flushMs, type OwnedLink } from "./link/link.ts";
import { isMachine, judgePeer, linkTime, type PeerTime } from "./peers.ts";
import type { HandlerRouter } from "./router.ts";
import { hintOfTls, watchForeign } from "./terminated.ts";
import { alpn, identityServerName, peerRefused } from "./tls.ts";
import type { Link, Peer } from "./transport.ts";

export type ListenDeps = {
  readonly clock: Clock;
  readonly log: Log;
  /** The cell's time, milliseconds since 1970: what certificates are judged by. */
  readonly nowMs: () => number;
};

export type ListenOptions = {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** The identity leaf. */
  readonly credentials: () => Credentials;
  /** The serving leaf for HTTPS on this port; links and enrolment get the identity leaf all the same. */
  readonly serving?: () => Credentials;
  readonly trusts: () => readonly Trust[];
  readonly router: HandlerRouter;
  /** Who may hold a link; default: nodes and hubs. */
  readonly accepts?: (peer: Peer) => boolean;
  readonly enrol?: EnrolHandler;
  /** Takes over HTTPS connections; it judges the client itself (`verifyPeer`). */
  readonly http?: (socket: TLSSocket) => void;
  readonly limits?: Partial<LinkLimits>;
  /**
   * TCP connections at one time, those being judged included. Beyond it one that is no link gives way
   * to a newcomer, of the address with the most. Default 1024.
   */
  readonly connectionsMax?: number;
  readonly time?: PeerTime;
  /** Connections come by these only, each with a PROXY header before it. */
  readonly balancers?: Balancers;
};

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** The newest link of a peer, by its SPIFFE id. */
  link(peerId: string): Link | undefined;
  /** The newest link of every peer. */
  links(): readonly Link[];
  on(event: "up", listener: (link: Link) => void): () => void;
  on(event: "down", listener: (event: { link: Link; reason: Error }) => void): () => void;
  /** Call after credentials or trust changed: new connections use them, links of refused peers end. */
  refresh(): void;
  readonly refusedByReason: ReadonlyMap<string, number>;
  /** Those with a hint what to do. */
  refusals(): readonly Refusal[];
  close(): Promise<void>;
}

type Accepted = { readonly link: OwnedLink; readonly socket: TLSSocket };

/** A peer that restarts leaves its old link behind for some pings; more than this many is a fault. */
const linksPerPeerMax = 4;
/** Of some 5 ms each: they end well within the time that their clients give them (`handshakeMs`). */
const handshakeLimits: HandshakeLimits = { handshakesMax: 64, holdMs: 1000, waitMs: 2500 };

/** Throws `port-in-use` or `cannot-listen`. */
export async function listen(deps: ListenDeps, options: ListenOptions): Promise<Listener> {
  const limits = { ...defaultLimits, ...options.limits };
  const audit = createAudit(deps);
  const enrolServer = options.enrol && createEnrolServer({ ...deps, audit }, options.enrol);
  const acceptedById = new Map<string, Accepted[]>();
  const signals = createSignals<{ up: Link; down: { link: Link; reason: Error } }>({
    onListenerError: (error, name) => deps.log.error("listener failed", { event: name, error }),
  });
  const accepts = options.accepts ?? isMachine;
  const judge = (socket: TLSSocket) =>
    judgePeer(socket, options.trusts(), { nowMs: deps.nowMs(), accepts, time: options.time });

  let contexts = secureContexts(options);
  const server = createServer({
    ...contexts.options,
    handshakeTimeout: limits.handshakeMs,
    SNICallback: (name, done) =>
      done(null, name === identityServerName ? contexts.identity : contexts.fallback),
  });
  const handshakes = createHandshakes(deps, {
    ...handshakeLimits,
    addressOf: (socket) => front?.clientOf(socket) ?? socket.remoteAddress ?? "",
    begin: (socket) => void server.emit("connection", socket),
    letGo({ remoteAddress: remote }) {
      audit.refused("busy", { remote, why: "more call at once than can be served in time" });
    },
  });
  const gate = createConnectionGate({
    connectionsMax: options.connectionsMax ?? 1024,
    onRefused: (why) => audit.refused("busy", { why: `too many connections: ${why}` }),
  });
  const onConnection = (socket: Socket) =>
    awaitHello(deps, socket, {
      withinMs: limits.handshakeMs,
      onHello: handshakes.arrived,
      onNone({ remoteAddress: remote }) {
        audit.refused("tls", { remote, why: `no handshake within ${limits.handshakeMs} ms` });
      },
    });
  const front =
    options.balancers &&
    createFront({ ...deps, audit }, { balancers: options.balancers, onConnection });
  const connections = new Set<Socket>();
  const port = createPort((socket) => {
    if (!gate.admit(socket)) return socket.destroy();
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    return front ? front.accept(socket) : onConnection(socket);
  });

  const acceptLink = (socket: TLSSocket) => {
    const remote = socket.remoteAddress;
    const verdict = judge(socket);
    if (!verdict.ok) {
      audit.refused(verdict.reason, { remote, why: verdict.message });
      const error = encodeError(peerRefused(verdict));
      return socket.end(encodeFrame({ type: "farewell", error }), () => socket.destroySoon());
    }
    const { peer } = verdict;
    const link: OwnedLink = createLink(
      {
        ...deps,
        limits,
        find: options.router.find,
        ...linkTime(deps, options.time),
      },
      {
        socket,
        peer,
        side: "acceptor",
        onClosed(reason) {
          const rest = (acceptedById.get(peer.id) ?? []).filter((other) => other.link !== link);
          if (rest.length > 0) acceptedById.set(peer.id, rest);
          else acceptedById.delete(peer.id);
          deps.log.info("link down", { peer: peer.id, remote, why: reason.message });
          signals.emit("down", { link, reason });
        },
      },
    );
    if (link.closed.aborted) return;
    const accepted = [{ link, socket }, ...(acceptedById.get(peer.id) ?? [])];
    acceptedById.set(peer.id, accepted);
    accepted[linksPerPeerMax]?.link.close("the peer opened too many");
    deps.log.info("link up", { peer: peer.id, remote });
    signals.emit("up", link);
  };

  const recheck = () => {
    for (const accepted of [...acceptedById.values()].flat()) {
      const verdict = judge(accepted.socket);
      if (verdict.ok) continue;
      audit.refused(verdict.reason, { peer: accepted.link.peer.id, why: verdict.message });
      accepted.link.fail(peerRefused(verdict));
    }
  };

  server.on("secureConnection", (socket) => {
    handshakes.over(socket);
    if (socket.alpnProtocol === alpn.link) gate.hold(socket);
    front?.showClient(socket);
    socket.setNoDelay(true);
    // Until somebody owns the socket, a reset must not end the process.
    socket.on("error", (error) => deps.log.debug("connection broke", { error }));
    if (socket.alpnProtocol !== alpn.enrol) watchForeign(audit, socket);
    if (socket.alpnProtocol === alpn.link) acceptLink(socket);
    else if (socket.alpnProtocol === alpn.enrol && enrolServer)
      enrolServer.accept(socket, contexts.anchorsPem());
    else if (options.http) options.http(socket);
    else {
      audit.refused("protocol", { remote: socket.remoteAddress, alpn: socket.alpnProtocol });
      socket.destroy();
    }
  });
  server.on("tlsClientError", (error, socket) => {
    handshakes.over(socket);
    front?.showClient(socket);
    refusedByTls(audit, error, socket);
  });
  await listening(port, options);
  let timer: Timer = deps.clock.after(limits.recheckMs, function again() {
    recheck();
    timer = deps.clock.after(limits.recheckMs, again);
  });

  return {
    host: options.host,
    port: (port.address() as AddressInfo).port,
    link: (peerId) => acceptedById.get(peerId)?.[0]?.link,
    links: () => [...acceptedById.values()].flatMap(([newest]) => newest?.link ?? []),
    on: (event: "up" | "down", listener: (event: never) => void) =>
      signals.on(event, listener as (event: unknown) => void),
    refresh() {
      contexts = secureContexts(options);
      server.setSecureContext(contexts.options);
      recheck();
    },
    refusedByReason: audit.refusedByReason,
    refusals: audit.refusals,
    async close() {
      timer.cancel();
      const closed = new Promise<void>((resolve) => port.close(() => resolve()));
      for (const { link } of [...acceptedById.values()].flat()) link.close("this side stops");
      enrolServer?.close();
      // Links flush their farewells; what is left then (handshakes, HTTPS) is nobody's any more.
      const rest = deps.clock.after(flushMs, () => {
        for (const connection of connections) connection.destroy();
      });
      await closed;
      rest.cancel();
    },
  };
}

function secureContexts(options: ListenOptions) {
  const protocols = [
    alpn.link,
    ...(options.enrol ? [alpn.enrol] : []),
    ...(options.http ? [alpn.http] : []),
  ];
  const tlsOptions = (credentials: Credentials) =>
    serverTlsOptions({
      credentials,
      trusts: options.trusts(),
      requestCert: true,
      alpn: protocols,
    });
  const identity = tlsOptions(options.credentials());
  const fallback = options.serving ? tlsOptions(options.serving()) : identity;
  const context = (from: typeof identity): SecureContext => createSecureContext(from);
  return {
    options: fallback,
    identity: context(identity),
    fallback: context(fallback),
    anchorsPem: () => [...new Set(options.trusts().flatMap(({ anchorsPem }) => anchorsPem))],
  };
}

function refusedByTls(audit: Audit, error: Error, socket: TLSSocket): void {
  audit.refused("tls", {
    remote: socket.remoteAddress,
    why: systemCode(error) ?? error.message,
    ...hintOfTls(error),
  });
  socket.destroy();
}

function listening(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  if (isIP(host) === 0 && host !== "localhost") {
    throw new SkerryError({
      code: "cannot-listen",
      message: `host: "${host}" is not an IP address`,
      hint: "give the address of one of this machine's interfaces",
    });
  }
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => reject(cannotListen(cause, { host, port })));
    server.listen(port, host, () => resolve());
  });
}

export function cannotListen(cause: unknown, { host, port }: { host: string; port: number }) {
  return systemCode(cause) === "EADDRINUSE"
    ? new SkerryError({
        code: "port-in-use",
        message: `port ${port} of ${host} is in use`,
        hint: "stop what listens there, or choose another port",
        cause,
      })
    : new SkerryError({
        code: "cannot-listen",
        message: `cannot listen on port ${port} of ${host}`,
        hint: "is it an address of this machine, and a port this user may open?",
        cause,
      });
}

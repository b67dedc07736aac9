/**
 * The dialling side: one link kept up. Lost, it is dialled again with backoff; grown old, it is
 * replaced while it still works, so that requests in flight finish on the old one.
 */
import { connect, type TLSSocket } from "node:tls";
import { clientTlsOptions, type Credentials, type Trust } from "../identity/index.ts";
import { createBackoff, type BackoffOptions } from "../lib/backoff.ts";
import { deadline, type Clock, type Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { createSignals } from "../lib/signals.ts";
import { defaultLimits, type LinkLimits } from "./link/limits.ts";
import { createLink, type OwnedLink } from "./link/link.ts";
import { isMachine, judgePeer, linkTime, type PeerTime } from "./peers.ts";
import type { HandlerRouter } from "./router.ts";
import { refuseForeign, secured } from "./terminated.ts";
import { connectThrough, type Proxy } from "./through-proxy.ts";
import { alpn, identityServerName, peerRefused } from "./tls.ts";
import type { Address, Dialled, Link, Peer } from "./transport.ts";

export type DialDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The cell's time, milliseconds since 1970. */
  readonly nowMs: () => number;
};

export type DialOptions = {
  /** Asked before every attempt; undefined means that there is no address now. */
  readonly address: Address | (() => Address | undefined);
  /** The way out; absent: straight to the address. */
  readonly proxy?: Proxy | undefined;
  /** The peer's SPIFFE id, or a trust domain of which any node or hub will do. */
  readonly expect: string;
  readonly credentials: () => Credentials;
  readonly trusts: () => readonly Trust[];
  readonly router: HandlerRouter;
  readonly limits?: Partial<LinkLimits>;
  /** Default 200 ms growing to 15 s. */
  readonly backoff?: BackoffOptions;
  /** A link is replaced at this age, less up to a tenth. Default 1 h. */
  readonly maxAgeMs?: number;
  readonly time?: PeerTime;
};

export type DialledLink = Dialled & {
  /** Why there is no link now; undefined while there is one. */
  readonly lastFailure: Error | undefined;
  /** Call after credentials or trust changed: the link is replaced by one that uses them. */
  refresh(): void;
};

/** A link that lived this long starts the backoff anew. */
const lastedMs = 10_000;

export function dial(deps: DialDeps, options: DialOptions): DialledLink {
  const { clock, log } = deps;
  const limits = { ...defaultLimits, ...options.limits };
  const maxAgeMs = options.maxAgeMs ?? 3_600_000;
  const backoff = createBackoff(deps, options.backoff ?? { initialMs: 200, maxMs: 15_000 });
  const signals = createSignals<{ up: Link; down: Error }>({
    onListenerError: (error, name) => log.error("listener failed", { event: name, error }),
  });
  const closing = new AbortController();
  const open = new Set<OwnedLink>();
  let current: { readonly link: OwnedLink; readonly sinceMs: number } | undefined;
  let lastFailure: Error | undefined;
  let isDialling = false;
  let retry: Timer | undefined;
  let age: Timer | undefined;
  let recheck: Timer | undefined;

  const attempt = async () => {
    if (isDialling || closing.signal.aborted) return;
    isDialling = true;
    retry?.cancel();
    try {
      install(await connectLink());
    } catch (error) {
      failed(error instanceof Error ? error : new Error(String(error)));
    } finally {
      isDialling = false;
    }
  };

  const failed = (error: Error) => {
    if (closing.signal.aborted) return;
    const isNews = error.message !== lastFailure?.message;
    lastFailure = error;
    log[isNews ? "warn" : "debug"]("cannot link", { expect: options.expect, error });
    retryLater();
  };

  const retryLater = () => {
    retry?.cancel();
    retry = clock.after(backoff.nextMs(), () => void attempt());
  };

  const install = (link: OwnedLink) => {
    if (link.closed.aborted) return failed(link.closed.reason as Error);
    const replaced = current?.link;
    current = { link, sinceMs: clock.monotonicMs() };
    lastFailure = undefined;
    age?.cancel();
    age = clock.after(maxAgeMs * (1 - deps.random.float() / 10), () => void attempt());
    log.info("link up", { peer: link.peer.id });
    signals.emit("up", link);
    replaced?.retire();
  };

  const lost = (link: OwnedLink, reason: SkerryError) => {
    open.delete(link);
    if (current?.link !== link) return;
    if (clock.monotonicMs() - current.sinceMs >= lastedMs) backoff.reset();
    current = undefined;
    lastFailure = reason;
    age?.cancel();
    if (!closing.signal.aborted) {
      log.info("link down", { peer: link.peer.id, why: reason.message });
      if (!isDialling) retryLater();
    }
    signals.emit("down", reason);
  };

  const connectLink = async (): Promise<OwnedLink> => {
    const address = typeof options.address === "function" ? options.address() : options.address;
    if (!address) {
      throw new SkerryError({
        code: "peer-unreachable",
        message: `no address of ${options.expect} is known`,
        retryable: true,
      });
    }
    const where = `${address.host}:${address.port}`;
    const limit = deadline(clock, limits.handshakeMs, {
      parent: closing.signal,
      reason: () =>
        new SkerryError({
          code: "peer-unreachable",
          message: `${where} did not answer in time`,
          retryable: true,
        }),
    });
    const trusts = options.trusts();
    let socket: TLSSocket | undefined;
    const onAbort = () => socket?.destroy(limit.signal.reason as Error);
    limit.signal.addEventListener("abort", onAbort);
    try {
      const way = options.proxy
        ? { socket: await connectThrough(options.proxy, address, limit.signal) }
        : address;
      socket = connect({
        ...clientTlsOptions({ credentials: options.credentials(), trusts, alpn: [alpn.link] }),
        ...way,
        servername: identityServerName,
      });
      socket.setNoDelay(true);
      await secured(socket, where);
      refuseForeign(socket, where);
      if (socket.alpnProtocol !== alpn.link) {
        throw peerRefused({ reason: "protocol", message: `${where} does not speak ${alpn.link}` });
      }
      const verdict = judgePeer(socket, trusts, {
        nowMs: deps.nowMs(),
        accepts: isExpected(options.expect),
        time: options.time,
      });
      if (!verdict.ok) throw peerRefused(verdict);
      const link: OwnedLink = createLink(
        {
          ...deps,
          limits,
          find: options.router.find,
          ...linkTime(deps, options.time),
        },
        {
          socket,
          peer: verdict.peer,
          side: "dialler",
          onClosed: (reason) => lost(link, reason),
          onRetire: () => current?.link === link && void attempt(),
        },
      );
      socketByLink.set(link, socket);
      open.add(link);
      await link.ready;
      return link;
    } catch (error) {
      socket?.destroy();
      throw error;
    } finally {
      limit.done();
      limit.signal.removeEventListener("abort", onAbort);
    }
  };

  const socketByLink = new WeakMap<OwnedLink, TLSSocket>();
  const recheckLink = () => {
    const socket = current && socketByLink.get(current.link);
    const verdict =
      socket &&
      judgePeer(socket, options.trusts(), {
        nowMs: deps.nowMs(),
        accepts: isExpected(options.expect),
        time: options.time,
      });
    if (verdict?.ok === false) current?.link.fail(peerRefused(verdict));
    recheck = clock.after(limits.recheckMs, recheckLink);
  };

  void attempt();
  recheck = clock.after(limits.recheckMs, recheckLink);

  return {
    get link() {
      return current?.link;
    },
    get lastFailure() {
      return current ? undefined : lastFailure;
    },
    wait: ({ signal } = {}) => waitFor({ current: () => current?.link, signals, closing, signal }),
    on: (event: "up" | "down", listener: (event: never) => void) =>
      signals.on(event, listener as (event: unknown) => void),
    refresh: () => void attempt(),
    async close() {
      if (closing.signal.aborted) return;
      closing.abort(dialClosed(options.expect));
      for (const timer of [retry, age, recheck]) timer?.cancel();
      const sockets = [...open].flatMap((link) => socketByLink.get(link) ?? []);
      for (const link of open) link.close("this side stops");
      await Promise.all(
        sockets.map(
          (socket) =>
            socket.closed || new Promise<void>((resolve) => socket.once("close", () => resolve())),
        ),
      );
    },
  };
}

function isExpected(expect: string): (peer: Peer) => boolean {
  return expect.startsWith("spiffe://")
    ? (peer) => peer.id === expect
    : (peer) => peer.trustDomain === expect && isMachine(peer);
}

function waitFor(options: {
  current: () => Link | undefined;
  signals: { on(name: "up", listener: (link: Link) => void): () => void };
  closing: AbortController;
  signal: AbortSignal | undefined;
}): Promise<Link> {
  const { signal, closing } = options;
  return new Promise((resolve, reject) => {
    const link = options.current();
    if (link) return resolve(link);
    const signalsToWatch = [closing.signal, ...(signal ? [signal] : [])];
    const aborted = signalsToWatch.find((each) => each.aborted);
    if (aborted) return reject(aborted.reason);
    const done = () => {
      off();
      for (const each of signalsToWatch) each.removeEventListener("abort", onAbort);
    };
    const onAbort = (event: Event) => {
      done();
      reject((event.target as AbortSignal).reason);
    };
    const off = options.signals.on("up", (up) => {
      done();
      resolve(up);
    });
    for (const each of signalsToWatch) each.addEventListener("abort", onAbort);
  });
}

function dialClosed(expect: string): SkerryError {
  return new SkerryError({ code: "closed", message: `the dialler of ${expect} was closed` });
}

/**
 * One link over one socket whose peer has been judged. It ends in one of four ways: closed here,
 * closed by the peer (its farewell says why), dead (nothing heard for some pings), or broken. Every
 * call in flight then fails with `link-lost`, whose outcome is unknown to the caller.
 */
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../../lib/clock.ts";
import { decodeError, encodeError, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Handler, Link, Peer } from "../transport.ts";
import { createBudget } from "./body.ts";
import { createFrameReader, encodeFrame, type Frame } from "./frames.ts";
import { createIncoming } from "./incoming.ts";
import type { LinkLimits } from "./limits.ts";
import { createOutbox } from "./outbox.ts";
import { createOutgoing } from "./outgoing.ts";
import { linkClosed, type Wire } from "./wire.ts";

export type OwnedLink = Link & {
  /** Resolves when the peer takes calls; rejects when the link ended before. */
  readonly ready: Promise<void>;
  /** No new calls from either side; closes when those in flight have ended, or after `drainMs`. */
  retire(): void;
  /** Closes with an error that the peer is told. */
  fail(error: SkerryError): void;
};

export type LinkDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: LinkLimits;
  readonly find: (method: string) => Handler | undefined;
  /** The time that the peer is told with every ping, milliseconds since 1970. */
  readonly tellMs: () => number;
  readonly onPeerTime?: (peer: Peer, theirNowMs: number) => void;
};

export type LinkInit = {
  readonly socket: Duplex;
  readonly peer: Peer;
  readonly side: "dialler" | "acceptor";
  /** The peer will open no more calls, and asks for none. */
  readonly onRetire?: () => void;
  readonly onClosed?: (reason: SkerryError) => void;
};

/** How long a closing socket may take to flush its last frames. */
export const flushMs = 1000;

export function createLink(deps: LinkDeps, init: LinkInit): OwnedLink {
  const { clock, limits } = deps;
  const { socket, peer } = init;
  const isDialler = init.side === "dialler";
  const outbox = createOutbox(socket);
  const reader = createFrameReader();
  const closed = new AbortController();
  const ready = Promise.withResolvers<void>();
  // Awaited by the dialler; nobody else need care when a link ends early.
  ready.promise.catch(() => {});

  let roundTripMs: number | undefined;
  let heardMs = clock.monotonicMs();
  let silentTicks = 0;
  let pingToken = 0;
  let pingSentMs = 0;
  let tick: Timer | undefined;
  let drain: Timer | undefined;
  let retired: { readonly us: boolean; readonly peer: boolean } = { us: false, peer: false };

  const control = (frame: Frame) => {
    if (closed.signal.aborted || outbox.control(encodeFrame(frame))) return;
    shut(new SkerryError({ code: "link-dead", message: `${peer.id} does not read` }), "destroy");
  };

  const wire: Wire = {
    clock,
    limits,
    inbound: createBudget(limits.bufferBytesMax),
    outbound: createBudget(limits.bufferBytesMax),
    control,
    send: (priority, source) => outbox.add(priority, source),
    callEnded: () => closeWhenDrained(),
  };
  const outgoing = createOutgoing(wire, {
    firstCall: isDialler ? 1 : 2,
    refusal: () =>
      closed.signal.aborted || retired.us ? linkClosed(closed.signal.reason) : undefined,
  });
  const incoming = createIncoming(wire, {
    peer,
    link: () => link,
    find: deps.find,
    parity: isDialler ? 0 : 1,
  });

  const shut = (reason: SkerryError, how: "flush" | "destroy") => {
    if (closed.signal.aborted) return;
    if (how === "flush") {
      socket.end(encodeFrame({ type: "farewell", error: encodeError(reason) }));
    }
    closed.abort(reason);
    tick?.cancel();
    drain?.cancel();
    outbox.close();
    outgoing.lost(reason);
    incoming.lost(reason);
    ready.reject(reason);
    const destroy = () => socket.destroy();
    if (how === "destroy") destroy();
    else {
      const timer = clock.after(flushMs, destroy);
      socket.once("close", () => timer.cancel());
    }
    init.onClosed?.(reason);
  };

  const retireUs = () => {
    if (retired.us || closed.signal.aborted) return;
    retired = { ...retired, us: true };
    control({ type: "retire" });
    drain = clock.after(limits.drainMs, () => {
      shut(closing("it was retired and its calls did not end in time"), "flush");
    });
  };

  const closeWhenDrained = () => {
    if (!retired.us || !retired.peer) return;
    // After the frames of this turn: the last answer is written before the farewell.
    queueMicrotask(() => {
      if (outgoing.size + incoming.size + outbox.waiting === 0)
        shut(closing("it was replaced"), "flush");
    });
  };

  const receive = (frame: Frame) => {
    switch (frame.type) {
      case "open":
      case "body":
      case "credit":
      case "cancel":
        return incoming.receive(frame);
      case "item":
      case "more":
      case "end":
      case "error":
        return outgoing.receive(frame);
      case "ping":
        deps.onPeerTime?.(peer, frame.nowMs);
        return control({ type: "pong", token: frame.token, nowMs: deps.tellMs() });
      case "pong":
        if (frame.token === pingToken) roundTripMs = clock.monotonicMs() - pingSentMs;
        return;
      case "welcome":
        return ready.resolve();
      case "retire":
        retired = { ...retired, peer: true };
        retireUs();
        init.onRetire?.();
        return closeWhenDrained();
      case "farewell":
        return shut(decodeError(frame.error), "destroy");
    }
  };

  const beat = () => {
    // Ticks, not time: a process that was itself stopped must not blame the peer for its own pause.
    silentTicks++;
    if (silentTicks > Math.ceil(limits.deadMs / limits.pingMs)) {
      return shut(
        new SkerryError({
          code: "link-dead",
          message: `nothing was heard from ${peer.id} for ${limits.deadMs} ms`,
          retryable: true,
        }),
        "destroy",
      );
    }
    pingToken = (pingToken + 1) >>> 0;
    pingSentMs = clock.monotonicMs();
    control({ type: "ping", token: pingToken, nowMs: deps.tellMs() });
    tick = clock.after(limits.pingMs, beat);
  };

  socket.on("data", (bytes: Buffer) => {
    if (closed.signal.aborted) return;
    silentTicks = 0;
    heardMs = clock.monotonicMs();
    try {
      for (const frame of reader.push(bytes)) {
        if (closed.signal.aborted) return;
        receive(frame);
      }
    } catch (error) {
      if (error instanceof SkerryError && error.code === "link-protocol") {
        deps.log.warn("link broke its protocol", { peer: peer.id, error });
        return shut(error, "flush");
      }
      deps.log.error("link failed", { peer: peer.id, error });
      shut(
        new SkerryError({ code: "internal", message: "the link failed", cause: error }),
        "destroy",
      );
    }
  });
  socket.on("drain", () => {
    outbox.drained();
    closeWhenDrained();
  });
  socket.on("error", (cause) => {
    shut(
      new SkerryError({
        code: "link-reset",
        message: `the connection to ${peer.id} broke`,
        retryable: true,
        cause,
      }),
      "destroy",
    );
  });
  socket.on("close", () => {
    shut(
      new SkerryError({
        code: "link-reset",
        message: `the connection to ${peer.id} ended`,
        retryable: true,
      }),
      "destroy",
    );
  });

  const link: OwnedLink = {
    peer,
    request: (method, body, options = {}) => outgoing.request(method, body, options),
    open: (method, body, options = {}) => outgoing.open(method, body, options),
    closed: closed.signal,
    get roundTripMs() {
      return roundTripMs;
    },
    get heardMs() {
      return heardMs;
    },
    ready: ready.promise,
    retire() {
      retireUs();
      closeWhenDrained();
    },
    fail: (error) => shut(error, "flush"),
    close: (reason = "it was closed") => shut(closing(reason), "flush"),
  };

  if (!isDialler) {
    control({ type: "welcome" });
    ready.resolve();
  }
  tick = clock.after(limits.pingMs, beat);
  return link;
}

function closing(reason: string): SkerryError {
  return new SkerryError({
    code: "link-closed",
    message: `the link was closed: ${reason}`,
    retryable: true,
  });
}

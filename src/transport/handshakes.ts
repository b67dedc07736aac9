/**
 * Which connections may begin their handshake now. A handshake costs milliseconds of processor, and
 * whoever began all that come at once (thousands of nodes, as a hub returns) would finish none of them
 * before their clients give up, and then again none. So a few are under way at a time. The address with
 * the fewest under way is served next, and within an address the order of coming counts, so that a
 * stranger's flood is the stranger's own queue. Who has waited so long that the handshake would end too
 * late is let go at once, and calls again later. One that waits for its client holds nobody up for long.
 */
import type { Socket } from "node:net";
import type { Clock, Timer } from "../lib/clock.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Log } from "../lib/log.ts";

export interface Handshakes {
  /** A connection whose client has begun (`client-hello.ts`). */
  arrived(socket: Socket): void;
  /** The handshake of this connection, or of the TLS within it, is over, however it ended. */
  over(socket: Socket): void;
}

export type HandshakeLimits = {
  /** Under way at one time. */
  readonly handshakesMax: number;
  /** What waits for its client gives its turn away after this. */
  readonly holdMs: number;
  /** Who waited longer is let go. */
  readonly waitMs: number;
};

/** What comes from one address. */
type Caller = {
  readonly address: string;
  underWay: number;
  /** In the order of coming, since when. */
  readonly waiting: Map<Socket, MonotonicMs>;
};

export function createHandshakes(
  { clock, log }: { clock: Clock; log: Log },
  options: HandshakeLimits & {
    readonly begin: (socket: Socket) => void;
    /** It waited too long, and is about to be closed. */
    readonly letGo: (socket: Socket) => void;
    /** Who calls. Default: the other end's address. */
    readonly addressOf?: (socket: Socket) => string;
  },
): Handshakes {
  const addressOf = options.addressOf ?? (({ remoteAddress = "" }) => remoteAddress);
  const underWay = new Map<string, { readonly timer: Timer; readonly caller: Caller }>();
  /** With something under way or waiting; who was served last is the last. */
  const callers = new Map<string, Caller>();

  const callerOf = (address: string): Caller => {
    const caller = callers.get(address) ?? { address, underWay: 0, waiting: new Map() };
    callers.set(address, caller);
    return caller;
  };
  const forgetIdle = (caller: Caller) => {
    if (caller.underWay === 0 && caller.waiting.size === 0) callers.delete(caller.address);
  };

  const start = (socket: Socket, caller: Caller) => {
    const end = endOf(socket);
    const timer = clock.after(options.holdMs, () => release(end));
    underWay.set(end, { timer, caller });
    caller.underWay++;
    callers.delete(caller.address);
    callers.set(caller.address, caller);
    socket.once("close", () => release(end));
    options.begin(socket);
  };
  const release = (end: string) => {
    const held = underWay.get(end);
    if (!held) return;
    held.timer.cancel();
    underWay.delete(end);
    held.caller.underWay--;
    forgetIdle(held.caller);
    serve();
  };
  const serve = () => {
    while (underWay.size < options.handshakesMax) {
      const caller = nextOf(callers.values());
      const [longest] = caller?.waiting ?? [];
      if (!caller || !longest) return;
      const [socket, sinceMs] = longest;
      caller.waiting.delete(socket);
      if (clock.monotonicMs() - sinceMs <= options.waitMs) {
        start(socket, caller);
        continue;
      }
      forgetIdle(caller);
      options.letGo(socket);
      socket.destroy();
    }
  };

  return {
    arrived(socket) {
      socket.on("error", (error) => log.debug("connection broke", { error }));
      const caller = callerOf(addressOf(socket));
      caller.waiting.set(socket, clock.monotonicMs());
      socket.once("close", () => {
        if (caller.waiting.delete(socket)) forgetIdle(caller);
      });
      serve();
    },
    over: (socket) => release(endOf(socket)),
  };
}

function nextOf(callers: Iterable<Caller>): Caller | undefined {
  let next: Caller | undefined;
  for (const caller of callers) {
    if (caller.waiting.size === 0) continue;
    if (caller.underWay === 0) return caller;
    if (caller.underWay < (next?.underWay ?? Infinity)) next = caller;
  }
  return next;
}

/** The other end, which no other connection of this port has at that time: TLS and what carries it have the same. */
const endOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress}|${remotePort}`;

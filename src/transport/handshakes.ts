/**
 * Which connections may begin their handshake now. A handshake costs milliseconds of processor, and
 * whoever began all that come at once (thousands of nodes, as a hub returns) would finish none of them
 * before their clients give up, and then again none. So a few are under way at a time, in the order of
 * their coming; who has waited so long that the handshake would end too late is let go at once, and
 * calls again later. One that waits for its client holds nobody up for long.
 */
import type { Socket } from "node:net";
import type { Clock, Timer } from "../lib/clock.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Log } from "../lib/log.ts";

export interface Handshakes {
  /** A connection of which nothing was read. */
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

export function createHandshakes(
  { clock, log }: { clock: Clock; log: Log },
  options: HandshakeLimits & {
    readonly begin: (socket: Socket) => void;
    /** It waited too long, and is about to be closed. */
    readonly letGo: (socket: Socket) => void;
  },
): Handshakes {
  const underWay = new Map<string, Timer>();
  const waiting = new Map<Socket, MonotonicMs>();

  const start = (socket: Socket) => {
    const end = endOf(socket);
    underWay.set(
      end,
      clock.after(options.holdMs, () => release(end)),
    );
    socket.once("close", () => release(end));
    options.begin(socket);
  };
  const release = (end: string) => {
    const timer = underWay.get(end);
    if (!timer) return;
    timer.cancel();
    underWay.delete(end);
    for (const [socket, sinceMs] of waiting) {
      if (underWay.size >= options.handshakesMax) return;
      waiting.delete(socket);
      if (clock.monotonicMs() - sinceMs <= options.waitMs) {
        start(socket);
        continue;
      }
      options.letGo(socket);
      socket.destroy();
    }
  };

  return {
    arrived(socket) {
      socket.on("error", (error) => log.debug("connection broke", { error }));
      if (underWay.size < options.handshakesMax) return start(socket);
      waiting.set(socket, clock.monotonicMs());
      socket.once("close", () => waiting.delete(socket));
    },
    over: (socket) => release(endOf(socket)),
  };
}

/** The other end, which no other connection of this port has at that time: TLS and what carries it have the same. */
const endOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress}|${remotePort}`;

/** The sockets in front of the broker: every listener's, counted, guarded, and closed when they stall. */
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, Server as TlsServer } from "node:tls";
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { ConnectionGate } from "../../runtime/connections/index.ts";
import { listenAlso, listenOn } from "../../runtime/listen/index.ts";
import { guardSocket, type GuardedSocket, type PartialBudget } from "./guarded-socket.ts";
import type { MqttIngest, MqttOptions } from "./mqtt.ts";

const stallTimeoutMsDefault = 60_000;
const idleTimeoutMsDefault = 1_200_000;
const sweepMs = 5_000;

type Connection = { readonly socket: Socket; readonly guarded: GuardedSocket };

export interface Sockets extends Pick<MqttIngest, "listen" | "setTls"> {
  /** Behind the stream that `handle` was given; undefined once it is closed. */
  of(stream: unknown): Connection | undefined;
  /** Takes no new ones, and reads no further from those that are there. */
  quiet(): void;
  destroy(): void;
}

export function createSockets(
  deps: {
    readonly clock: Clock;
    readonly log: Log;
    readonly gate: ConnectionGate;
    readonly partial: PartialBudget;
    /** Takes over a connection whose packets have been measured. */
    readonly handle: (stream: GuardedSocket["stream"]) => void;
  },
  options: Pick<MqttOptions, "idleTimeoutMs" | "stallTimeoutMs">,
): Sockets {
  const { clock, log, gate, partial } = deps;
  const connectionByStream = new Map<unknown, Connection>();
  const servers = new Set<Server>();
  let isQuiet = false;

  const accept = (socket: Socket) => {
    if (isQuiet) return void socket.destroy();
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.setTimeout(options.idleTimeoutMs ?? idleTimeoutMsDefault, () => socket.destroy());
    const guarded = guardSocket(socket, { clock, partial });
    connectionByStream.set(guarded.stream, { socket, guarded });
    socket.once("close", () => connectionByStream.delete(guarded.stream));
    deps.handle(guarded.stream);
  };
  const stallTimeoutMs = options.stallTimeoutMs ?? stallTimeoutMsDefault;
  const sweep = every(
    clock,
    Math.min(sweepMs, stallTimeoutMs / 2),
    () => {
      for (const { guarded } of connectionByStream.values()) guarded.closeIfStalled(stallTimeoutMs);
    },
    (error) => log.error("stalled connections could not be looked for", { error }),
  );

  return {
    of: (stream) => connectionByStream.get(stream),
    async listen({ host, port, tls }) {
      // Counted from the first packet of TCP on: a handshake costs more than what comes after it.
      const server = tls
        ? createTlsServer({ ...tls, handshakeTimeout: 10_000 }, accept)
        : createServer();
      server.on("connection", (socket) => {
        gate.admit(socket);
        if (!tls && !socket.destroyed) accept(socket);
      });
      if (tls) server.on("tlsClientError", (error) => log.debug("handshake failed", { error }));
      const bound = await listenOn(server, { host, port, what: "MQTT" });
      server.on("error", (error) => log.error("MQTT listener failed", { error }));
      servers.add(server);
      return {
        port: bound.port,
        alsoAt: (also) => listenAlso(server, { host: also, port: bound.port, what: "MQTT" }),
      };
    },
    setTls(tls) {
      for (const server of servers) if (server instanceof TlsServer) server.setSecureContext(tls);
    },
    quiet() {
      isQuiet = true;
      for (const server of servers) server.close();
      sweep.cancel();
      for (const { socket } of connectionByStream.values()) socket.pause();
    },
    destroy() {
      for (const { socket } of connectionByStream.values()) socket.destroy();
    },
  };
}

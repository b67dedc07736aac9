/** The sockets in front of the broker: every listener's, counted, and swept for what does not move. */
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, Server as TlsServer } from "node:tls";
import { deadline, every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { ConnectionGate } from "../../runtime/connections/index.ts";
import { listenAlso, listenOn } from "../../runtime/listen/index.ts";
import type { Client } from "./client.ts";
import type { MqttIngest, MqttOptions } from "./mqtt.ts";
import { reason } from "./reason-codes.ts";

const stallTimeoutMsDefault = 60_000;
const idleTimeoutMsDefault = 1_200_000;
const sweepMs = 1_000;
const goodbyeMs = 1_000;

export interface Sockets extends Pick<MqttIngest, "listen" | "setTls"> {
  /** Takes no new ones, and reads no further from those that are there. */
  quiet(): void;
  /** Says so to those that can be told, and closes all. */
  close(): Promise<void>;
}

export function createSockets(
  deps: {
    readonly clock: Clock;
    readonly log: Log;
    readonly gate: ConnectionGate;
    readonly create: (socket: Socket) => Client;
    readonly onSweep: (nowMs: number) => void;
  },
  options: Pick<MqttOptions, "idleTimeoutMs" | "stallTimeoutMs">,
): Sockets {
  const { clock, log, gate } = deps;
  const clientBySocket = new Map<Socket, Client>();
  const servers = new Set<Server>();
  let isQuiet = false;

  const accept = (socket: Socket) => {
    if (isQuiet) return void socket.destroy();
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.setTimeout(options.idleTimeoutMs ?? idleTimeoutMsDefault, () => socket.destroy());
    clientBySocket.set(socket, deps.create(socket));
    socket.once("close", () => clientBySocket.delete(socket));
  };
  const stallTimeoutMs = options.stallTimeoutMs ?? stallTimeoutMsDefault;
  const periodMs = Math.min(sweepMs, stallTimeoutMs / 2);
  let sweptMs: number = clock.monotonicMs();
  const sweep = every(
    clock,
    periodMs,
    () => {
      const nowMs = clock.monotonicMs();
      const lostMs = Math.max(0, nowMs - sweptMs - periodMs);
      sweptMs = nowMs;
      const look = { nowMs, lostMs, limitMs: stallTimeoutMs };
      for (const client of clientBySocket.values()) client.sweep(look);
      deps.onSweep(nowMs);
    },
    (error) => log.error("stalled connections could not be looked for", { error }),
  );

  return {
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
      for (const client of clientBySocket.values()) client.quiet();
    },
    async close() {
      const sockets = [...clientBySocket.keys()];
      const closed = sockets.map(
        (socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())),
      );
      for (const client of clientBySocket.values())
        client.end({ reasonCode: reason.shuttingDown, message: "this node's agent stops" });
      const limit = deadline(clock, goodbyeMs);
      const late = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
      await Promise.race([Promise.all(closed), late]);
      limit.done();
      for (const socket of sockets) socket.destroy();
    },
  };
}

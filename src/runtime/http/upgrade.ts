/**
 * Upgrades are routed like any request, so that whoever looks at requests, for a token or for room, looks
 * at them too.
 */
import type { IncomingMessage, RequestListener, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ServerResponse } from "../node-http/index.ts";

type Upgrade = { readonly socket: Duplex; readonly head: Buffer };

const upgrades = new WeakMap<IncomingMessage, Upgrade>();

/** Undefined: it is a request like others. */
export const upgradeOf = (request: IncomingMessage): Upgrade | undefined => upgrades.get(request);

/** Whoever asks for another protocol, or with a body, is answered as if nothing had been asked for. */
export const isWebSocketUpgrade = ({ method, headers }: IncomingMessage): boolean =>
  method === "GET" && headers.upgrade?.toLowerCase() === "websocket";

/** The function that it answers destroys those connections: a server that is closed waits for them. */
export function serveUpgrades(server: Server, handler: RequestListener): () => void {
  const open = new Set<Socket>();
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    socket.on("error", () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once("finish", () => socket.end());
    upgrades.set(request, { socket, head });
    handler(request, response);
  });
  return () => {
    for (const socket of open) socket.destroy();
  };
}

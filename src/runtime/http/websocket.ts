/** WebSockets (RFC 6455) behind ordinary routes, which accept an upgrade or answer it (`upgrade.ts`). */
import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpReply, HttpRequest } from "./app.ts";
import { upgradeOf } from "./upgrade.ts";

export interface WebSocketConnection {
  /** Resolves when the text has left this process; false: the connection is gone. */
  send(text: string): Promise<boolean>;
  /** A sign of life; a peer that did not answer the last one is gone. */
  ping(): void;
  close(code: number, reason: string): void;
  readonly closed: Promise<void>;
}

/** How long a peer may take nothing of what waits for it. */
const stallMs = 30_000;
/** Of what a peer sends: nothing is expected. */
const messageBytesMax = 1024;

export const isUpgrade = ({ raw }: HttpRequest): boolean => upgradeOf(raw) !== undefined;

/**
 * Call after everything that could still be an HTTP answer. `protocol` is chosen where the client offers
 * it. Throws `invalid-request` for a handshake that is none, `closed` when the client has gone.
 */
export async function acceptWebSocket(
  request: HttpRequest,
  reply: HttpReply,
  { protocol }: { protocol: string },
): Promise<WebSocketConnection> {
  const { headers, raw } = request;
  const upgrade = upgradeOf(raw);
  const key = headers["sec-websocket-key"] ?? "";
  if (!upgrade || headers["sec-websocket-version"] !== "13" || !/^[+/0-9A-Za-z]{22}==$/.test(key))
    throw new SkerryError({
      code: "invalid-request",
      message: "this is no handshake of a WebSocket of version 13",
    });
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });
  reply.hijack();
  const { socket: stream, head } = upgrade;
  const socket = await new Promise<WebSocket>((resolve, reject) => {
    const gone = () => reject(new SkerryError({ code: "closed", message: "the client has gone" }));
    stream.once("close", gone);
    server.handleUpgrade(raw, stream, head, resolve);
    if (stream.destroyed) gone();
  });
  let isAlive = true;
  socket.on("pong", () => (isAlive = true));
  // What a peer does against the protocol ends its connection; `close` follows.
  socket.on("error", () => socket.terminate());
  (stream as Socket).setTimeout(stallMs, () => {
    if (socket.bufferedAmount > 0) socket.terminate();
  });
  return {
    send: (text) =>
      new Promise((resolve) => {
        if (socket.readyState !== socket.OPEN) return resolve(false);
        socket.send(text, (error) => resolve(!error));
      }),
    ping() {
      if (!isAlive) return socket.terminate();
      isAlive = false;
      if (socket.readyState === socket.OPEN) socket.ping();
    },
    close: (code, reason) => socket.close(code, reason),
    closed: new Promise((resolve) => socket.once("close", () => resolve())),
  };
}

/**
 * Node's HTTP server with every wait and every size bounded. What is not HTTP, too large or too slow
 * is told so in the one error shape, as far as a client that misbehaves can be told anything.
 */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { systemCode } from "../../lib/errors.ts";
import { createConnectionGate, type ConnectionGate } from "../connections/index.ts";
import type { HttpError } from "../http-error/index.ts";
import { createServer, STATUS_CODES } from "../node-http/index.ts";
import { isWebSocketUpgrade, serveUpgrades } from "./upgrade.ts";

export type HttpServerLimits = {
  readonly connectionsMax: number;
  /** A client has this long to send its headers, and its whole request. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** How long a client may take nothing of an answer that waits for it. */
  readonly stallTimeoutMs: number;
  /** How long a connection may stay without a request. */
  readonly idleTimeoutMs: number;
  readonly headersBytesMax: number;
  /** Requests of one connection that may be under way. */
  readonly pipelinedMax: number;
};

export const httpServerLimits: HttpServerLimits = {
  connectionsMax: 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  stallTimeoutMs: 30_000,
  idleTimeoutMs: 72_000,
  headersBytesMax: 16 * 1024,
  pipelinedMax: 32,
};

/** Why a connection was closed, or told that it will be. */
export type HttpRefusal =
  | "idle-closed"
  | "too-many-connections"
  | "invalid-request"
  | "headers-too-large"
  | "request-timeout"
  | "slow-reader"
  | "too-many-pipelined";

export type BoundedHttpServer = {
  readonly server: Server;
  readonly gate: ConnectionGate;
  /** Connections that are WebSockets now are no longer the server's to close. */
  destroyUpgraded(): void;
};

/** Listens nowhere yet. `onRefused` is for counting. */
export function createBoundedHttpServer(
  handler: RequestListener,
  limits: HttpServerLimits,
  onRefused: (reason: HttpRefusal) => void,
): BoundedHttpServer {
  const gate = createConnectionGate({
    connectionsMax: limits.connectionsMax,
    onRefused: (reason) => onRefused(reason === "too-many" ? "too-many-connections" : reason),
  });
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    if (gate.holds(socket) >= limits.pipelinedMax) {
      onRefused("too-many-pipelined");
      socket.destroy();
      return;
    }
    gate.hold(socket);
    response.once("close", () => gate.letGo(socket));
    handler(request, response);
  };
  const server = createServer(
    {
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(5_000, limits.headersTimeoutMs),
      keepAliveTimeout: limits.idleTimeoutMs,
      maxHeaderSize: limits.headersBytesMax,
      shouldUpgradeCallback: isWebSocketUpgrade,
    },
    listener,
  );
  const destroyUpgraded = serveUpgrades(server, listener);
  server.on("connection", (socket) => gate.admit(socket));
  server.setTimeout(limits.stallTimeoutMs, (socket: Socket) => {
    // Silence is no fault while the answer is being made; a follower waits for as long as it likes.
    if (socket.writableLength === 0 && gate.holds(socket) > 0) return;
    if (socket.writableLength > 0) onRefused("slow-reader");
    socket.destroy();
  });
  // Answered by the app (`answerClientError`); here it is counted.
  server.on("clientError", (error) => onRefused(clientRefusalOf(error).code));
  return { server, gate, destroyUpgraded };
}

const refusalByCode: Readonly<
  Record<string, { status: number; code: HttpRefusal; message: string }>
> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    code: "headers-too-large",
    message: "the headers are larger than this listener takes",
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    code: "request-timeout",
    message: "the request was not sent in time",
  },
};

const clientRefusalOf = (error: Error) =>
  refusalByCode[systemCode(error) ?? ""] ?? {
    status: 400,
    code: "invalid-request" as const,
    message: "what was sent cannot be read as HTTP/1.1",
  };

/** For bytes that are not HTTP, or too many of it, or too late: says so and closes. */
export function answerClientError(error: Error, socket: Duplex): void {
  const { status, code, message } = clientRefusalOf(error);
  if (!socket.writable || systemCode(error) === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const body = JSON.stringify({
    error: { code, message, retryable: code === "request-timeout" },
  } satisfies HttpError);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${body.length}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

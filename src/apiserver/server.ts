/**
 * The HTTPS server of the cell API. It owns two: one that listens, and one that never does and is
 * given the connections for which no server of the cell could be reached (`standIn`), so that each
 * request knows from its connection how far it may go.
 */
import { constants } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Server as NetServer, Socket } from "node:net";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import type { KindDefinition } from "../api/index.ts";
import type { authorize } from "../authorization/index.ts";
import { deadline, type Clock } from "../lib/clock.ts";
import { encodeError, SkerryError, systemCode } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Resources } from "../resources/index.ts";
import type { Limits } from "./dependencies.ts";
import { createDocuments } from "./documents.ts";
import { createHandler, type HandlerDependencies } from "./handler.ts";
import { createKindIndex } from "./kind-index.ts";
import type { MountedRoute } from "./mounted.ts";
import { listenAlso, type SecondListener } from "../runtime/listen/index.ts";
import { createConnectionGate } from "../runtime/connections/index.ts";
import { failure } from "./status.ts";
import type { Authenticate, PodLogs, ServingCredentials } from "./ports.ts";

export type ApiServerDependencies = {
  readonly resources: Resources;
  readonly kinds: readonly KindDefinition[];
  readonly authenticate: Authenticate;
  readonly authorize: typeof authorize;
  readonly podLogs: PodLogs;
  readonly clock: Clock;
  readonly log: Log;
} & Pick<HandlerDependencies, "tracer" | "onAnswered">;

export type ApiServerOptions = {
  readonly credentials: ServingCredentials;
  readonly routes?: readonly MountedRoute[];
  /** Why this node is not ready to serve, for `/readyz`; undefined when it is. */
  readonly notReady?: () => string | undefined;
  readonly limits?: Partial<Limits>;
  readonly connectionsMax?: number;
  /** How long requests in flight may take to end on `close`. */
  readonly drainMs?: number;
};

export interface ApiServer {
  /** Throws `api-listen-failed`. `port` 0 picks a free one. */
  listen(at: { host: string; port: number }): Promise<{ host: string; port: number }>;
  /** Once it listens: at another address of this machine as well. Throws `port-in-use` or `cannot-listen`. */
  alsoAt(host: string): Promise<SecondListener>;
  /** Serves an accepted TCP connection from what this node knows; writes are refused. */
  standIn(socket: Socket): void;
  /** New handshakes use these from now on; connections that stand end at their own age. */
  rotate(credentials: ServingCredentials): void;
  /** Ends watches and logs cleanly, lets other requests finish, then closes. Idempotent. */
  close(): Promise<void>;
}

const defaults = {
  watchStallMs: 10_000,
  watchAgeMaxMs: 3_600_000,
  connectionsMax: 1000,
  drainMs: 5000,
};
/** Certificates are checked again by a new handshake at least this often. */
const connectionAgeMaxMs = 3_600_000;
const headersTimeoutMs = 15_000;
const requestTimeoutMs = 60_000;
const handshakeTimeoutMs = 10_000;
/** How long a client may take nothing of an answer that waits for it. */
const stallTimeoutMs = 30_000;
/** Requests of one connection that may be under way. */
const pipelinedMax = 32;

export function createApiServer(deps: ApiServerDependencies, options: ApiServerOptions): ApiServer {
  const { clock, log } = deps;
  const stopping = new AbortController();
  const index = createKindIndex(deps.kinds);
  const handle = createHandler({
    ...deps,
    index,
    documents: createDocuments(index),
    routes: options.routes ?? [],
    notReady: options.notReady ?? (() => undefined),
    stopping: stopping.signal,
    limits: {
      watchStallMs: options.limits?.watchStallMs ?? defaults.watchStallMs,
      watchAgeMaxMs: options.limits?.watchAgeMaxMs ?? defaults.watchAgeMaxMs,
    },
  });
  const inFlight = new Set<Promise<void>>();
  const acceptedMs = new WeakMap<object, number>();

  const create = (standIn: boolean): Server => {
    const gate = createConnectionGate({
      connectionsMax: options.connectionsMax ?? defaults.connectionsMax,
      onRefused: (reason) => log.debug("connection refused", { reason }),
    });
    const server = createServer(tlsOptions(options.credentials), (request, response) => {
      const { socket } = request;
      if (gate.isOverflow(socket)) {
        const { status } = failure("ServiceUnavailable", "too many connections; all are in use");
        response.writeHead(503, {
          "Content-Type": "application/json",
          "Retry-After": "1",
          Connection: "close",
        });
        response.end(JSON.stringify(status));
        return;
      }
      if (gate.holds(socket) >= pipelinedMax) return void socket.destroy();
      gate.hold(socket);
      response.once("close", () => gate.letGo(socket));
      track(request, response, standIn);
    });
    // From the first packet on: a handshake costs more than most requests.
    server.on("connection", (socket: Socket) => gate.admit(socket));
    server.setTimeout(stallTimeoutMs, (socket: Socket) => {
      // Silence is no fault while the answer is being made; a watch may be silent for long.
      if (socket.writableLength > 0 || gate.holds(socket) === 0) socket.destroy();
    });
    server.headersTimeout = headersTimeoutMs;
    server.requestTimeout = requestTimeoutMs;
    server.keepAliveTimeout = 72_000;
    server.on("secureConnection", (socket) => acceptedMs.set(socket, clock.monotonicMs()));
    server.on("tlsClientError", (error) => log.debug("handshake failed", { error }));
    server.on("clientError", answerMalformed);
    return server;
  };

  const track = (request: IncomingMessage, response: ServerResponse, standIn: boolean) => {
    const ageMs = clock.monotonicMs() - (acceptedMs.get(request.socket) ?? clock.monotonicMs());
    if (ageMs > connectionAgeMaxMs) response.setHeader("Connection", "close");
    const work = handle(request, response, { standIn })
      .catch((error: unknown) => {
        log.error("answer could not be sent", { url: request.url, error });
        response.destroy();
      })
      .finally(() => inFlight.delete(work));
    inFlight.add(work);
  };

  const main = create(false);
  const standIn = create(true);
  let closed: Promise<void> | undefined;

  const close = async () => {
    const ended = new Promise<void>((resolve) => {
      main.close(() => resolve());
    });
    stopping.abort();
    const limit = deadline(clock, options.drainMs ?? defaults.drainMs);
    const timedOut = new Promise<void>((resolve) => {
      limit.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([Promise.allSettled(inFlight), timedOut]);
    limit.done();
    for (const server of [main, standIn]) server.closeAllConnections();
    standIn.close();
    await ended;
  };

  return {
    listen: (at) => listen(main, at),
    alsoAt(host) {
      const { port } = main.address() as AddressInfo;
      return listenAlso(main, { host, port, what: "the cell API" });
    },
    standIn(socket) {
      standIn.emit("connection", socket);
      socket.resume();
    },
    rotate(credentials) {
      for (const server of [main, standIn]) server.setSecureContext(secureContext(credentials));
    },
    close() {
      closed ??= close();
      return closed;
    },
  };
}

const malformedByCode: Readonly<Record<string, readonly [string, string]>> = {
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the headers are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request was not sent in time"],
};
const malformed = ["400 Bad Request", "what was sent cannot be read as HTTP/1.1"] as const;

/** What could not be read as HTTP, was too large or came too late is told so in a `Status`. */
function answerMalformed(error: Error, socket: Duplex): void {
  if (!socket.writable || systemCode(error) === "ECONNRESET") return void socket.destroy();
  const [line, message] = malformedByCode[systemCode(error) ?? ""] ?? malformed;
  const { status } = failure("BadRequest", message);
  const body = JSON.stringify({ ...status, code: Number(line.slice(0, 3)) });
  const head = [
    `HTTP/1.1 ${line}`,
    "Content-Type: application/json",
    `Content-Length: ${body.length}`,
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

function secureContext(credentials: ServingCredentials): SecureContextOptions {
  return {
    ...credentials,
    minVersion: "TLSv1.3",
    // A resumed session would be accepted without its certificate being looked at again.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function tlsOptions(credentials: ServingCredentials): TlsOptions {
  return {
    ...secureContext(credentials),
    requestCert: true,
    // Who is unknown learns so in the API's own words; `authenticate` judges every request.
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1"],
    handshakeTimeout: handshakeTimeoutMs,
  };
}

/** Listens, or throws `api-listen-failed` saying what stands in the way. */
export async function listen(
  server: Server | NetServer,
  at: { host: string; port: number },
): Promise<{ host: string; port: number }> {
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: Error) =>
      reject(
        new SkerryError({
          code: "api-listen-failed",
          message: `the cell API cannot listen on ${at.host}:${at.port}: ${encodeError(cause).message}`,
          hint:
            systemCode(cause) === "EADDRINUSE"
              ? "another process uses this port: stop it, or choose another port"
              : "choose an address of this machine and a port that you may use",
          cause,
        }),
      );
    server.once("error", onError);
    server.listen(at.port, at.host, () => {
      server.off("error", onError);
      resolve();
    });
  });
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

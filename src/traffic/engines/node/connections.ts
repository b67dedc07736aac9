/**
 * The ingress' connections: at most so many, and when there are that many, the one that was idle
 * longest makes room. So thousands of connections that say nothing keep nobody out.
 */
import type { Server } from "node:http";
import type { Duplex } from "node:stream";
import { SkerryError } from "../../../lib/errors.ts";
import type { Counter, RefusalReason } from "./counts.ts";
import { errorBody } from "./request.ts";

export interface Connections {
  readonly count: number;
  /** A request of it has begun. */
  busy(socket: Duplex): void;
  /** It waits for its next request. */
  idle(socket: Duplex): void;
}

/** Follows the connections of a server that does not listen yet, and answers what it cannot parse. */
export function followConnections(
  server: Server,
  deps: { counter: Counter },
  options: { readonly connectionsMax: number },
): Connections {
  const open = new Set<Duplex>();
  /** Longest first. */
  const idle = new Set<Duplex>();

  server.on("connection", (socket) => {
    if (open.size >= options.connectionsMax) {
      const oldest = idle.values().next().value;
      deps.counter.add(oldest ? "refused:idle-connection" : "refused:connections");
      if (!oldest) return void socket.destroy();
      forget(oldest);
      oldest.destroy();
    }
    open.add(socket);
    idle.add(socket);
    socket.once("close", () => forget(socket));
  });
  const forget = (socket: Duplex) => {
    open.delete(socket);
    idle.delete(socket);
  };

  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const isBusy = !idle.has(socket);
    const complaint = complaintOf(error.code ?? "", { isBusy });
    if (complaint) deps.counter.add(`refused:${complaint.reason}`);
    // Half an answer is under way, or there is nobody to hear one.
    if (!complaint || isBusy || !socket.writable) return void socket.destroy();
    const body = errorBody(complaint.error);
    socket.end(
      `HTTP/1.1 ${complaint.status}\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });

  return {
    get count() {
      return open.size;
    },
    busy: (socket) => void idle.delete(socket),
    idle(socket) {
      if (open.has(socket)) idle.add(socket);
    },
  };
}

type Complaint = {
  readonly status: string;
  readonly reason: RefusalReason;
  readonly error: SkerryError;
};

/** What Node's parser says of a client; undefined when the client only went away. */
function complaintOf(code: string, { isBusy }: { isBusy: boolean }): Complaint | undefined {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return {
      status: "408 Request Timeout",
      reason: isBusy ? "body-timeout" : "headers-timeout",
      error: new SkerryError({
        code: "request-timeout",
        message: "the request did not come in time",
      }),
    };
  if (code === "HPE_HEADER_OVERFLOW" || code === "HPE_CHUNK_EXTENSIONS_OVERFLOW")
    return {
      status: "431 Request Header Fields Too Large",
      reason: "headers-too-large",
      error: new SkerryError({
        code: "headers-too-large",
        message: "the request's line and headers are larger than 16 KiB",
      }),
    };
  if (!code.startsWith("HPE_") || code === "HPE_INVALID_EOF_STATE") return undefined;
  return {
    status: "400 Bad Request",
    reason: "malformed",
    error: new SkerryError({
      code: "invalid-request",
      message: `the request is not HTTP/1.1 (${code})`,
    }),
  };
}

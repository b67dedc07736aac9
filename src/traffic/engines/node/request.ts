/** What a client asked for, checked; and how it is refused. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { SkerryError } from "../../../lib/errors.ts";
import type { HttpError } from "../../../runtime/http-error/index.ts";
import { hostName } from "../../routes/match.ts";

export type Target = {
  /** As the client wrote it, port included. */
  readonly host: string;
  readonly hostName: string;
  /** Without the query. */
  readonly path: string;
  /** What goes on the wire. */
  readonly pathAndQuery: string;
};

/** Throws `invalid-request`: what two hops could read differently is refused by the first. */
export function targetOf(request: IncomingMessage): Target {
  const { url = "/", rawHeaders } = request;
  const hosts = rawHeaders.filter((_, i) => i % 2 === 0 && rawHeaders[i]?.toLowerCase() === "host");
  if (hosts.length > 1) throw invalid("there are two Host headers");
  let host = request.headers.host ?? "";
  let pathAndQuery = url;
  // Absolute form: its authority replaces the Host header (RFC 9112, section 3.2.2).
  const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(url);
  if (absolute) {
    host = absolute[1] ?? "";
    pathAndQuery = absolute[2] ?? "";
    if (!pathAndQuery.startsWith("/")) pathAndQuery = `/${pathAndQuery}`;
  }
  if (!pathAndQuery.startsWith("/")) throw invalid(`"${url.slice(0, 100)}" is not a path`);
  if (host.includes("@")) throw invalid("the host names a user");
  if (!hostCharacters.test(host)) throw invalid("the host holds what no host name may");
  checkEncoding(request);
  const path = pathAndQuery.replace(/[?#].*$/s, "");
  // A pod that resolves these would answer for a path that no rule gave it.
  if (/(?:^|\/|%2f)(?:\.|%2e){1,2}(?:\/|%2f|$)/i.test(path))
    throw invalid('the path holds "." or ".." as an element');
  return { host, hostName: hostName(host), path, pathAndQuery };
}

/** RFC 3986, section 3.2.2: names, addresses, and a port. */
const hostCharacters = /^[\w.~!$&'()*+,;=%:[\]-]*$/;

/** RFC 9112, section 6.1: an older client knows no chunks; what is inside another coding is unknown. */
function checkEncoding({ headers, httpVersionMinor }: IncomingMessage): void {
  const encoding = headers["transfer-encoding"];
  if (encoding === undefined) return;
  if (httpVersionMinor === 0) throw invalid("HTTP/1.0 has no Transfer-Encoding");
  if (encoding.trim().toLowerCase() !== "chunked")
    throw invalid("a Transfer-Encoding other than chunked is not taken");
}

const idempotentMethods = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/**
 * Whether the request may be carried out twice: by its method (RFC 9110, section 9.2.2), or because
 * its client gave it an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).
 */
export const isRepeatableByItself = ({ method = "GET", headers }: IncomingMessage): boolean =>
  idempotentMethods.has(method) || (headers["idempotency-key"] ?? "") !== "";

/**
 * Whether the client of a connection is known to have ended it. Half a close is a whole one: who
 * says that he will send nothing more is taken to have gone, as Node's server does by itself.
 */
export const hasEnded = (socket: Duplex): boolean => socket.writableEnded || socket.destroyed;

/** Answers in the one error shape; drops the connection where the request's body was not read. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  error: SkerryError,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const { retryable } = error;
  const body = errorBody(error);
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    ...(retryable ? { "retry-after": "1" } : {}),
    ...(request.complete ? {} : { connection: "close" }),
    ...headers,
  });
  response.end(request.method === "HEAD" ? "" : body);
}

/** The one error shape. */
export function errorBody({ code, message, hint, retryable }: SkerryError): string {
  return JSON.stringify({
    error: { code, message, retryable, ...(hint === undefined ? {} : { hint }) },
  } satisfies HttpError);
}

const invalid = (message: string) => new SkerryError({ code: "invalid-request", message });

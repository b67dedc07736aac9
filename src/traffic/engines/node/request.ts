/** What a client asked for, checked, and its body as far as it can be sent twice. */
import type { IncomingMessage, ServerResponse } from "node:http";
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
  const path = pathAndQuery.replace(/[?#].*$/s, "");
  // A pod that resolves these would answer for a path that no rule gave it.
  if (/(?:^|\/|%2f)(?:\.|%2e){1,2}(?:\/|%2f|$)/i.test(path))
    throw invalid('the path holds "." or ".." as an element');
  return { host, hostName: hostName(host), path, pathAndQuery };
}

export type RequestBody =
  | { readonly state: "none" }
  /** Small enough to be kept and sent again. */
  | { readonly state: "kept"; readonly bytes: Buffer }
  | { readonly state: "streamed"; readonly stream: AsyncIterable<Uint8Array> };

/** Bodies up to this are kept for a retry. */
export const keptBytesMax = 64 * 1024;

/** Rejects when the client breaks off. */
export async function readBody(request: IncomingMessage): Promise<RequestBody> {
  const length = request.headers["content-length"];
  if (length === undefined && request.headers["transfer-encoding"] === undefined)
    return { state: "none" };
  if (Number(length) === 0) return { state: "none" };
  if (Number(length) > keptBytesMax) return { state: "streamed", stream: streamOf(request) };
  const chunks: Buffer[] = [];
  let bytes = 0;
  const rest = chunksOf(request);
  for (let next = await rest.next(); !next.done; next = await rest.next()) {
    chunks.push(next.value);
    bytes += next.value.length;
    if (bytes > keptBytesMax) return { state: "streamed", stream: chain(chunks, rest) };
  }
  return { state: "kept", bytes: Buffer.concat(chunks) };
}

/** The body as it comes. Giving it up leaves the connection whole, so that an answer can be sent. */
export const streamOf = (request: IncomingMessage): AsyncIterable<Uint8Array> =>
  chain([], chunksOf(request));

const chunksOf = (request: IncomingMessage) =>
  request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;

async function* chain(first: readonly Buffer[], rest: AsyncIterable<Buffer>) {
  yield* first;
  yield* rest;
}

/** Safe to carry out twice (RFC 9110, section 9.2.2). */
export const isIdempotent = (method: string): boolean =>
  ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].includes(method);

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
  const { code, message, hint, retryable } = error;
  const body = JSON.stringify({
    error: { code, message, retryable, ...(hint === undefined ? {} : { hint }) },
  } satisfies HttpError);
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    ...(retryable ? { "retry-after": "1" } : {}),
    ...(request.complete ? {} : { connection: "close" }),
    ...headers,
  });
  response.end(request.method === "HEAD" ? "" : `${body}`);
}

const invalid = (message: string) => new SkerryError({ code: "invalid-request", message });

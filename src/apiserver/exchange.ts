/** One request and its answer: who asks, what for, and how answers leave. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import type { Subject } from "../authorization/index.ts";
import { acceptsGzip } from "./negotiation.ts";
import type { Status } from "./status.ts";

const gzipAsync = promisify(gzip);

/** Smaller answers cost more to pack than to send (the threshold of Kubernetes' API server). */
const gzipBytesMin = 128 * 1024;

export type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly subject: Subject;
  /** Upper case. */
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Aborts when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** This node stands in for servers it cannot reach: reads from its mirror, no writes. */
  readonly standIn: boolean;
  /** Sent with the answer, as `Warning` headers (RFC 7234, section 5.5, code 299). */
  readonly warnings: string[];
};

export async function sendJson(
  exchange: Pick<Exchange, "request" | "response" | "warnings">,
  code: number,
  body: unknown,
  contentType = "application/json",
): Promise<void> {
  await sendBytes(exchange, code, Buffer.from(JSON.stringify(body)), contentType);
}

export function sendStatus(
  exchange: Pick<Exchange, "request" | "response" | "warnings">,
  status: Status,
): Promise<void> {
  return sendJson(exchange, status.code, status);
}

export async function sendBytes(
  { request, response, warnings }: Pick<Exchange, "request" | "response" | "warnings">,
  code: number,
  bytes: Buffer,
  contentType: string,
): Promise<void> {
  for (const warning of warnings) response.appendHeader("Warning", warningHeader(warning));
  response.setHeader("Content-Type", contentType);
  response.setHeader("Cache-Control", "no-cache, private");
  let payload = bytes;
  if (bytes.length >= gzipBytesMin && acceptsGzip(request.headers["accept-encoding"])) {
    payload = await gzipAsync(bytes, { level: constants.Z_BEST_SPEED });
    response.setHeader("Content-Encoding", "gzip");
    response.setHeader("Vary", "Accept-Encoding");
  }
  response.setHeader("Content-Length", payload.length);
  response.writeHead(code);
  response.end(payload);
}

const warningCharactersMax = 256;

function warningHeader(text: string): string {
  const safe = text.slice(0, warningCharactersMax).replace(/[^\x20-\x7e]/g, "?");
  return `299 - "${safe.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/**
 * One request, tried on one server after the other. Reads go on after any failure; a write goes on
 * only while it is certain that nobody has seen it.
 */
import type { Dispatcher } from "undici";
import { deadline, type Clock } from "../../lib/clock.ts";
import { systemCode } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { unavailable, warningsOf, type Answer } from "./answers.ts";
import { neverSent, type Connections, type RemoteServer } from "./connections.ts";

export type Request = {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
};

export type Sent =
  | { readonly state: "answered"; readonly answer: Answer }
  /** No server has seen it. */
  | { readonly state: "unsent"; readonly cause: unknown }
  /** A server may have seen it. */
  | { readonly state: "unknown"; readonly cause: unknown };

export type Stream = { readonly answer: Dispatcher.ResponseData; readonly server: RemoteServer };

export interface Requests {
  /** Throws what an aborted signal throws. */
  send(request: Request): Promise<Sent>;
  /** The body is read by the caller, who must read or destroy it. */
  open(request: Request, options: { stallMs: number }): Promise<Stream>;
}

export type RequestsOptions = {
  /** Best first. */
  readonly servers: () => readonly RemoteServer[];
  readonly userAgent: string;
  readonly attemptTimeoutMs: number;
};

const answerBytesMax = 64 * 1024 * 1024;
/** A server that failed is tried after the others for this long. */
const avoidMs = 5000;

export function createRequests(
  deps: { clock: Clock; log: Log; connections: Connections },
  options: RequestsOptions,
): Requests {
  const { clock, log, connections } = deps;
  const failedMsByServer = new Map<string, number>();
  const nameOf = ({ host, port }: RemoteServer) => `${host}:${port}`;

  const inOrder = () => {
    const avoided = (server: RemoteServer) => {
      const failedMs = failedMsByServer.get(nameOf(server));
      return failedMs !== undefined && clock.monotonicMs() - failedMs < avoidMs ? 1 : 0;
    };
    return options.servers().toSorted((a, b) => avoided(a) - avoided(b));
  };
  /** Each server once more where the connection was cut: it may have been an old one, kept open. */
  function* candidates(twice: boolean, lastError: () => unknown): Iterable<RemoteServer> {
    for (const server of inOrder()) {
      yield server;
      if (twice && wasCut(lastError())) yield server;
    }
  }
  const failed = (server: RemoteServer, error: unknown) => {
    failedMsByServer.set(nameOf(server), clock.monotonicMs());
    log.debug("server did not answer", { server: nameOf(server), error });
  };

  const dispatch = (
    server: RemoteServer,
    request: Request,
    signal: AbortSignal,
    stallMs: number,
  ): Promise<Dispatcher.ResponseData> =>
    connections.poolOf(server).request({
      method: request.method,
      path: request.path,
      headers: {
        accept: "application/json",
        "user-agent": options.userAgent,
        ...(request.body === undefined
          ? {}
          : { "content-type": request.contentType ?? "application/json" }),
      },
      body: request.body === undefined ? null : JSON.stringify(request.body),
      bodyTimeout: stallMs,
      signal,
    });

  /** A deadline for this attempt alone: a used-up one would fail on healthy servers too. */
  const attempt = async (server: RemoteServer, request: Request): Promise<Answer> => {
    const limit = deadline(clock, options.attemptTimeoutMs, {
      parent: request.signal,
      reason: () =>
        unavailable(`${nameOf(server)} did not answer in ${options.attemptTimeoutMs} ms`),
    });
    try {
      const response = await dispatch(server, request, limit.signal, options.attemptTimeoutMs);
      const body = await readJson(response.body);
      failedMsByServer.delete(nameOf(server));
      return {
        code: response.statusCode,
        body,
        warnings: warningsOf(response.headers["warning"]),
      };
    } finally {
      limit.done();
    }
  };

  return {
    async send(request) {
      const isRead = request.method === "GET";
      let last: unknown = unavailable("no server of this cell is known");
      for (const server of candidates(isRead, () => last)) {
        request.signal?.throwIfAborted();
        try {
          const answer = await attempt(server, request);
          // 503 says that nothing was done here; another server may be better off.
          if (answer.code !== 503) return { state: "answered", answer };
          last = unavailable(`${nameOf(server)}: ${messageOf(answer.body)}`);
        } catch (error) {
          if (isRead) request.signal?.throwIfAborted();
          if (!isRead && !neverSent(error)) return { state: "unknown", cause: error };
          last = error;
        }
        failed(server, last);
      }
      return { state: "unsent", cause: last };
    },

    async open(request, { stallMs }) {
      let last: unknown = unavailable("no server of this cell is known");
      for (const server of candidates(true, () => last)) {
        const opened = new AbortController();
        const limit = deadline(clock, options.attemptTimeoutMs, {
          reason: () =>
            unavailable(`${nameOf(server)} did not answer in ${options.attemptTimeoutMs} ms`),
        });
        const end = () => opened.abort(limit.signal.reason);
        limit.signal.addEventListener("abort", end, { once: true });
        const signal = request.signal
          ? AbortSignal.any([request.signal, opened.signal])
          : opened.signal;
        try {
          const answer = await dispatch(server, request, signal, stallMs);
          if (answer.statusCode !== 503) {
            failedMsByServer.delete(nameOf(server));
            return { answer, server };
          }
          last = unavailable(`${nameOf(server)}: ${messageOf(await readJson(answer.body))}`);
        } catch (error) {
          request.signal?.throwIfAborted();
          last = error;
        } finally {
          limit.signal.removeEventListener("abort", end);
          limit.done();
        }
        failed(server, last);
      }
      throw unavailable("no server of this cell can be reached", last);
    },
  };
}

function wasCut(error: unknown): boolean {
  const code = systemCode(error);
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

export async function readJson(body: AsyncIterable<Uint8Array>): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > answerBytesMax)
      throw unavailable(`the server's answer is longer than ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unavailable(`the server's answer is not JSON: ${text.slice(0, 80)}`, cause);
  }
}

function messageOf(body: unknown): string {
  const message =
    typeof body === "object" && body !== null && "message" in body ? body.message : undefined;
  return typeof message === "string" ? message : "unavailable";
}

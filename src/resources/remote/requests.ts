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
  /** Ends what runs. Idempotent. */
  close(): void;
  /** Throws what an aborted signal throws. */
  send(request: Request): Promise<Sent>;
  /** The body is read by the caller, who must read or destroy it. */
  open(request: Request, options: { stallMs: number }): Promise<Stream>;
}

/**
 * What is known of the servers besides their answers: bound to membership's verdicts by the agent. A
 * machine that lost its power sends no reset, and a request to it would wait for its whole timeout.
 */
export type ServerSilence = {
  /** Whether nobody in the cell hears this server any more. */
  isSilent(server: RemoteServer): boolean;
  /** Called when an answer of `isSilent` may have changed. Returns the unsubscriber. */
  onChange(listener: () => void): () => void;
};

export type RequestsOptions = {
  /** Best first. */
  readonly servers: () => readonly RemoteServer[];
  readonly silence?: ServerSilence;
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

  const { silence } = options;
  /** Under way, with the server each waits for, and whether it was silent when it was asked. */
  const underWay = new Map<AbortController, { server: RemoteServer; wasSilent: boolean }>();
  /** Silent to the beats, and yet they answered since: where only UDP is lost, work goes on. */
  const answering = new Set<string>();
  const isGivenUp = (server: RemoteServer) =>
    silence?.isSilent(server) === true && !answering.has(nameOf(server));
  const givenUp = (server: RemoteServer) =>
    unavailable(`${nameOf(server)} is silent: no node of the cell hears it`);
  const silentBefore = new Set<string>();
  const forget = silence?.onChange(() => {
    answering.clear();
    for (const [attempt, { server, wasSilent }] of underWay) {
      if (!wasSilent && !isGivenUp(server)) continue;
      underWay.delete(attempt);
      attempt.abort(broken(isGivenUp(server) ? givenUp(server).message : "heard again"));
    }
    // Connections from before the silence: a machine that lost its power knows none of them any more.
    for (const server of options.servers()) {
      const isSilent = isGivenUp(server);
      if (isSilent === silentBefore.has(nameOf(server))) continue;
      if (isSilent) silentBefore.add(nameOf(server));
      else silentBefore.delete(nameOf(server));
      connections.drop(server);
    }
    // Who is heard again is asked at once, whatever happened to it before.
    for (const server of options.servers())
      if (!isGivenUp(server)) failedMsByServer.delete(nameOf(server));
  });

  const inOrder = () => {
    const avoided = (server: RemoteServer) => {
      if (isGivenUp(server)) return 2;
      const failedMs = failedMsByServer.get(nameOf(server));
      return failedMs !== undefined && clock.monotonicMs() - failedMs < avoidMs ? 1 : 0;
    };
    return options.servers().toSorted((a, b) => avoided(a) - avoided(b));
  };
  /** Each server once more where the connection was cut: it may have been an old one, kept open. */
  function* candidates(twice: boolean, lastError: () => unknown): Iterable<RemoteServer> {
    for (const server of inOrder()) {
      yield server;
      if (twice && wasCut(lastError()) && !isGivenUp(server)) yield server;
    }
  }
  const answered = (server: RemoteServer) => {
    failedMsByServer.delete(nameOf(server));
    if (silence?.isSilent(server)) answering.add(nameOf(server));
  };
  const failed = (server: RemoteServer, error: unknown) => {
    failedMsByServer.set(nameOf(server), clock.monotonicMs());
    answering.delete(nameOf(server));
    log.debug("server did not answer", { server: nameOf(server), error });
  };
  /** Aborts with the request's signal, and when the server is given up while it runs. */
  const startAttempt = (server: RemoteServer, request: Request) => {
    const attempt = new AbortController();
    const { signal: parent } = request;
    const forward = () => attempt.abort(parent?.reason);
    if (parent?.aborted) forward();
    else parent?.addEventListener("abort", forward, { once: true });
    underWay.set(attempt, { server, wasSilent: isGivenUp(server) });
    const answered = () => void underWay.set(attempt, { server, wasSilent: false });
    const done = () => {
      underWay.delete(attempt);
      parent?.removeEventListener("abort", forward);
    };
    return {
      signal: attempt.signal,
      abort: (reason: unknown) => attempt.abort(reason),
      answered,
      done,
    };
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
    const run = startAttempt(server, request);
    const limit = deadline(clock, options.attemptTimeoutMs, {
      parent: run.signal,
      reason: () =>
        unavailable(`${nameOf(server)} did not answer in ${options.attemptTimeoutMs} ms`),
    });
    try {
      const response = await dispatch(server, request, limit.signal, options.attemptTimeoutMs);
      const body = await readJson(response.body);
      answered(server);
      return {
        code: response.statusCode,
        body,
        warnings: warningsOf(response.headers["warning"]),
      };
    } finally {
      limit.done();
      run.done();
    }
  };

  return {
    close: () => forget?.(),

    async send(request) {
      const isRead = request.method === "GET";
      let last: unknown = unavailable("no server of this cell is known");
      for (const server of candidates(isRead, () => last)) {
        request.signal?.throwIfAborted();
        // Somebody waits for this answer; watches go on asking who is silent, and find it again.
        if (isGivenUp(server)) {
          last = givenUp(server);
          continue;
        }
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
        const run = startAttempt(server, request);
        const limit = deadline(clock, options.attemptTimeoutMs, {
          reason: () =>
            unavailable(`${nameOf(server)} did not answer in ${options.attemptTimeoutMs} ms`),
        });
        const end = () => run.abort(limit.signal.reason);
        limit.signal.addEventListener("abort", end, { once: true });
        let opened = false;
        try {
          const answer = await dispatch(server, request, run.signal, stallMs);
          if (answer.statusCode !== 503) {
            answered(server);
            opened = true;
            run.answered();
            // The stream is under way until its reader is through with it.
            answer.body.once("close", run.done);
            return { answer, server };
          }
          last = unavailable(`${nameOf(server)}: ${messageOf(await readJson(answer.body))}`);
        } catch (error) {
          request.signal?.throwIfAborted();
          last = run.signal.aborted ? run.signal.reason : error;
        } finally {
          limit.signal.removeEventListener("abort", end);
          limit.done();
          if (!opened) run.done();
        }
        failed(server, last);
      }
      throw unavailable("no server of this cell can be reached", last);
    },
  };
}

/** As a connection that was cut: a watch resumes, on this server where it is heard, or on another. */
function broken(message: string): Error {
  return Object.assign(new Error(message), { code: "ECONNRESET" });
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

/**
 * From a raw request to its answer: who asks, what for, and every error as a `Status`. Nothing thrown
 * below leaves this file as anything else.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import { authorizePath, type Subject } from "../authorization/index.ts";
import type { Documents } from "./documents.ts";
import type { VerbDependencies } from "./dependencies.ts";
import { dispatchResource } from "./dispatch.ts";
import { createObjectEncoder } from "./encoded.ts";
import { sendBytes, sendStatus, type Exchange } from "./exchange.ts";
import { answerMounted, type MountedRoute } from "./mounted.ts";
import type { Authenticate } from "./ports.ts";
import { endSpan, noTracer, spanOfRequest, type Tracer } from "../runtime/trace/index.ts";
import { splitPath } from "./route.ts";
import { failure, isOurFault, statusOf } from "./status.ts";

/** Told of every request that ended; a watch ends too. */
export type ApiAnswered = (answered: {
  readonly method: string;
  readonly status: number;
  readonly isWatch: boolean;
  readonly tookMs: number;
}) => void;

export type HandlerDependencies = Omit<VerbDependencies, "encoder"> & {
  readonly authenticate: Authenticate;
  readonly documents: Documents;
  readonly routes: readonly MountedRoute[];
  /** Why this node is not ready to serve; undefined when it is. */
  readonly notReady: () => string | undefined;
  /** Aborts when the server stops. */
  readonly stopping: AbortSignal;
  /** A span a request; default: none. */
  readonly tracer?: Tracer;
  readonly onAnswered?: ApiAnswered;
};

export type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  options: { standIn: boolean },
) => Promise<void>;

export function createHandler(given: HandlerDependencies): Handler {
  const deps = { ...given, encoder: createObjectEncoder() };
  const tracer = deps.tracer ?? noTracer;
  return async (request, response, { standIn }) => {
    const startedMs = deps.clock.monotonicMs();
    const span = spanOfRequest(tracer, request);
    const gone = new AbortController();
    const onClose = () => gone.abort();
    const onStop = () => gone.abort();
    response.on("close", onClose);
    deps.stopping.addEventListener("abort", onStop, { once: true });
    // An answer of a node that stands in must not keep the client from a server that is back.
    if (standIn || deps.stopping.aborted) response.setHeader("Connection", "close");
    const base = { request, response, warnings: [] as string[], signal: gone.signal };
    let subject: Subject | undefined;
    try {
      const url = parseUrl(request);
      if (await answerHealth(deps, base, url.pathname)) return;
      subject = deps.authenticate(request.socket as TLSSocket);
      if (!subject) throw unauthenticated();
      await answer(deps, {
        ...base,
        subject,
        standIn,
        method: request.method ?? "GET",
        path: url.pathname,
        query: url.searchParams,
      });
    } catch (error) {
      await answerError(deps, base, error);
    } finally {
      response.off("close", onClose);
      deps.stopping.removeEventListener("abort", onStop);
      const tookMs = deps.clock.monotonicMs() - startedMs;
      const { statusCode: status } = response;
      endSpan(span, status, { ...(subject ? { "enduser.id": subject.id } : {}) });
      const isWatch = /[?&]watch=(true|1)/.test(request.url ?? "");
      deps.onAnswered?.({ method: request.method ?? "GET", status, isWatch, tookMs });
      deps.log.debug("request", {
        method: request.method,
        url: request.url,
        subject: subject?.id,
        status,
        tookMs: Math.round(tookMs),
      });
    }
  };
}

async function answer(
  deps: HandlerDependencies & VerbDependencies,
  exchange: Exchange,
): Promise<void> {
  if (await answerMounted(deps.routes, exchange)) return;
  const decision = authorizePath(exchange.subject, exchange.path);
  if (decision.state === "allow" && (await deps.documents(exchange))) return;
  const parts = splitPath(exchange.path);
  if (!parts) {
    if (decision.state === "deny") throw failure("Forbidden", decision.reason);
    throw failure("NotFound", "the server could not find the requested resource");
  }
  await dispatchResource(deps, exchange, parts);
}

type Base = Pick<Exchange, "request" | "response" | "warnings" | "signal">;

async function answerHealth(deps: HandlerDependencies, base: Base, path: string): Promise<boolean> {
  if (path !== "/livez" && path !== "/readyz" && path !== "/healthz") return false;
  const problem = path === "/readyz" ? deps.notReady() : undefined;
  const [code, text] = problem === undefined ? [200, "ok"] : [503, problem];
  await sendBytes(base, code, Buffer.from(text), "text/plain");
  return true;
}

async function answerError(deps: HandlerDependencies, base: Base, error: unknown): Promise<void> {
  const { request, response } = base;
  if (isOurFault(error)) {
    deps.log.error("request failed", { method: request.method, url: request.url, error });
  }
  if (response.destroyed) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  // What is left of a body that was refused is not worth reading: the connection ends with it.
  if (!request.complete) response.setHeader("Connection", "close");
  await sendStatus({ ...base, warnings: [] }, statusOf(error));
}

function parseUrl(request: IncomingMessage): URL {
  const url = URL.parse(request.url ?? "/", "https://api.skerry");
  if (!url) throw failure("BadRequest", "the request's path is not a valid URL");
  return url;
}

function unauthenticated() {
  return failure(
    "Unauthorized",
    "a client certificate of this cell is required; `skerry kubeconfig` writes a kubeconfig with one",
  );
}

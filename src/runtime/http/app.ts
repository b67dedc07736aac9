/**
 * HTTP as Skerry's own listeners speak it: bounded bodies, one error shape, a stop that drains.
 * Rooms hand over `Routes`; a root mounts them on an app and decides where it listens.
 */
import fastify, { type FastifyInstance, type FastifyServerOptions } from "fastify";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";

export type HttpApp = FastifyInstance;
/** What a room offers over HTTP; mounted by a root. */
export type Routes = (app: HttpApp) => void;

/** The error body of every Skerry API that is not Kubernetes-shaped. */
export type HttpError = {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly retryable: boolean;
  };
};

export type HttpAppOptions = {
  /** Default 4 MiB. */
  readonly bodyBytesMax?: number;
  /** Takes what went wrong inside: the client is told only that it is in the log. */
  readonly log?: Log;
};

export function createHttpApp(
  options: HttpAppOptions & { serverFactory?: FastifyServerOptions["serverFactory"] } = {},
): HttpApp {
  const app = fastify({
    bodyLimit: options.bodyBytesMax ?? 4 * 1024 * 1024,
    forceCloseConnections: true,
    keepAliveTimeout: 72_000,
    requestTimeout: 0,
    ...(options.serverFactory ? { serverFactory: options.serverFactory } : {}),
  });
  app.setErrorHandler((error, request, reply) => {
    const { status, body } = httpErrorOf(error);
    if (status === 500) {
      const { method, url } = request;
      options.log?.error("request failed", { method, url, error });
    }
    void reply.code(status).send(body);
  });
  app.setNotFoundHandler((request, reply) => {
    void reply.code(404).send({
      error: {
        code: "route-unknown",
        message: `there is no ${request.method} ${request.url}`,
        retryable: false,
      },
    } satisfies HttpError);
  });
  return app;
}

const statusByCode: Readonly<Record<string, number>> = {
  unauthenticated: 401,
  forbidden: 403,
  "stream-unknown": 404,
  "not-found": 404,
  "body-too-large": 413,
  "store-busy": 429,
  "rate-limited": 429,
  "disk-full": 507,
};

/** Status and body for anything thrown; what is not a SkerryError tells nothing of the inside. */
export function httpErrorOf(error: unknown): { status: number; body: HttpError } {
  if (error instanceof SkerryError) {
    const { code, message, hint, retryable } = error;
    const status =
      statusByCode[code] ?? (code.startsWith("invalid-") ? 400 : retryable ? 503 : 500);
    return {
      status,
      body: { error: { code, message, retryable, ...(hint === undefined ? {} : { hint }) } },
    };
  }
  const status = clientFault(error);
  if (status !== undefined) {
    const message = error instanceof Error ? error.message : String(error);
    const code =
      status === 413
        ? "body-too-large"
        : status === 415
          ? "invalid-content-type"
          : "invalid-request";
    return { status, body: { error: { code, message, retryable: false } } };
  }
  return {
    status: 500,
    body: { error: { code: "internal", message: "internal error; see the log", retryable: false } },
  };
}

/** Fastify marks its own complaints about a request with a 4xx `statusCode`. */
function clientFault(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  const status = Number(error.statusCode);
  return status >= 400 && status < 500 ? status : undefined;
}

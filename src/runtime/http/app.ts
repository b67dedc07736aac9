/**
 * HTTP as Skerry's own listeners speak it: bounded bodies, one error shape, a stop that drains.
 * Rooms hand over `Routes`; a root mounts them on an app and decides where it listens.
 */
import fastify, { type FastifyInstance, type FastifyServerOptions } from "fastify";
import { httpErrorOf, type HttpError } from "../http-error/index.ts";
import type { Log } from "../../lib/log.ts";

export type HttpApp = FastifyInstance;
/** What a room offers over HTTP; mounted by a root. */
export type Routes = (app: HttpApp) => void;

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

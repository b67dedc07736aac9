/**
 * HTTP as Skerry's own listeners speak it: bounded bodies, one error shape, a stop that drains.
 * Rooms hand over `Routes`; a root mounts them on an app and decides where it listens.
 */
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from "fastify";
import { httpErrorOf, type HttpError } from "../http-error/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { lingerBeforeClose } from "./linger.ts";
import { answerClientError } from "./server.ts";

export type HttpApp = FastifyInstance;
export type HttpRequest = FastifyRequest;
export type HttpReply = FastifyReply;
/** What a room offers over HTTP; mounted by a root. */
export type Routes = (app: HttpApp) => void;

export type HttpAppOptions = {
  /** Default 4 MiB. */
  readonly bodyBytesMax?: number;
  /** Takes what went wrong inside: the client is told only that it is in the log. */
  readonly log?: Log;
};

/** Of what a client sent, in an answer to it. */
const urlShownMax = 200;

/** The client may still be sending. */
const tooLargeStatus = 413;

const isTooLarge = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "FST_ERR_CTP_BODY_TOO_LARGE";

/** Fastify's own words do not say how large it may be. */
function tooLarge({ headers, routeOptions }: FastifyRequest, cause: unknown): SkerryError {
  const bytesMax = routeOptions.bodyLimit;
  const given = headers["content-length"];
  return new SkerryError({
    code: "body-too-large",
    message: `the body is too large: ${given === undefined ? `more than ${bytesMax}` : given.slice(0, 20)} bytes`,
    hint: `at most ${bytesMax} bytes here; send less at a time`,
    cause,
  });
}

export function createHttpApp(
  options: HttpAppOptions & { serverFactory?: FastifyServerOptions["serverFactory"] } = {},
): HttpApp {
  const refuse = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const { method, url } = request;
    const { status, body } = httpErrorOf(isTooLarge(error) ? tooLarge(request, error) : error);
    if (status === 500) options.log?.error("request failed", { method, url, error });
    if (status === tooLargeStatus) lingerBeforeClose(request.raw.socket);
    void reply.code(status).send(body);
  };
  const app = fastify({
    // Its own words for these would have another shape.
    frameworkErrors: refuse,
    clientErrorHandler: answerClientError,
    bodyLimit: options.bodyBytesMax ?? 4 * 1024 * 1024,
    forceCloseConnections: true,
    keepAliveTimeout: 72_000,
    requestTimeout: 0,
    ...(options.serverFactory ? { serverFactory: options.serverFactory } : {}),
  });
  app.setErrorHandler(refuse);
  app.addHook("onRequest", async ({ headers }) => {
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding.trim().toLowerCase() === "identity") return;
    throw new SkerryError({
      code: "invalid-content-encoding",
      message: `content-encoding: ${encoding.slice(0, urlShownMax)} is not taken`,
      hint: "send the body as it is; a compressed one could grow without a bound",
    });
  });
  app.setNotFoundHandler((request, reply) => {
    void reply.code(404).send({
      error: {
        code: "route-unknown",
        message: `there is no ${request.method} ${request.url.slice(0, urlShownMax)}`,
        retryable: false,
      },
    } satisfies HttpError);
  });
  return app;
}

/**
 * `/v1/coordination/…` of the gateway, the same on every node. A request becomes plain data, the
 * answer HTTP; what either means is decided elsewhere.
 */
import { Readable } from "node:stream";
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import {
  type HttpApp,
  type HttpReply,
  tokenCallerOf,
  type HttpRequest,
  type Routes,
} from "../../../runtime/http/index.ts";
import {
  parseRequest,
  parseStreamRequest,
  valueBytesMax,
  type ClaimKind,
  type Coordination,
} from "../coordination.ts";
import { answerOf, errorAnswer, type HttpAnswer } from "./answers.ts";
import { serverSentEvents } from "./events.ts";
import { descriptions } from "./openapi.ts";
import {
  deleteRequest,
  getRequest,
  holderRequest,
  listRequest,
  parameter,
  putRequest,
  releaseRequest,
  watchRequest,
} from "./requests.ts";
import { jsonFields } from "./parse.ts";

export type CoordinationRoutes = {
  readonly routes: Routes;
  /** Ends every stream, so that a gateway that stops does not wait for them. */
  endStreams(): void;
};

const root = "/v1/coordination";
const jsonBytesMax = 16 * 1024;

export function createCoordinationRoutes(deps: {
  coordination: Coordination;
  clock: Clock;
}): CoordinationRoutes {
  const { coordination, clock } = deps;
  /** Streams, and tries that may wait; other requests end by themselves. */
  const lasting = new Set<AbortController>();
  let isStopping = false;

  /** Aborts when the client is gone or, where `lasts`, the gateway stops. */
  const goneSignal = (reply: HttpReply, { lasts }: { lasts: boolean }): AbortSignal => {
    const gone = new AbortController();
    if (lasts) lasting.add(gone);
    reply.raw.once("close", () => {
      lasting.delete(gone);
      gone.abort(new DOMException("the client is gone", "AbortError"));
    });
    if (lasts && isStopping) gone.abort(stopping());
    return gone.signal;
  };

  /** Parses, asks and answers; the request's own end ends what it waits for. */
  const call =
    (parse: (request: HttpRequest) => unknown, show: (answer: HttpAnswer) => HttpAnswer = same) =>
    async (request: HttpRequest, reply: HttpReply) => {
      try {
        const asked = parseRequest(parse(request));
        const signal = goneSignal(reply, { lasts: asked.type === "claim" });
        const answer = await coordination.call(tokenCallerOf(request), asked, { signal });
        return send(reply, show(answerOf(answer)));
      } catch (error) {
        return sendError(reply, error);
      }
    };

  const stream =
    (parse: (request: HttpRequest) => unknown, holderName: "holder" | "leader") =>
    async (request: HttpRequest, reply: HttpReply) => {
      try {
        const asked = parseStreamRequest(parse(request));
        const signal = goneSignal(reply, { lasts: true });
        const opened = coordination.stream(tokenCallerOf(request), asked, { signal });
        const items = opened[Symbol.asyncIterator]();
        // What is wrong with it is known with the first item, and still an HTTP error then.
        const first = await items.next();
        const events = serverSentEvents(clock, first, items, holderName);
        return await reply
          .headers({ "content-type": "text/event-stream", "cache-control": "no-store" })
          .send(Readable.from(events, { objectMode: false }));
      } catch (error) {
        return sendError(reply, error);
      }
    };

  const mountKeys = (app: HttpApp) => {
    app.get(`${root}/keys`, { config: { openapi: descriptions.list } }, call(listRequest));
    const path = `${root}/keys/*`;
    app.get(path, { config: { openapi: descriptions.get } }, call(getRequest));
    app.put(
      path,
      { config: { openapi: descriptions.put }, bodyLimit: valueBytesMax },
      call(putRequest),
    );
    app.delete(path, { config: { openapi: descriptions.delete } }, call(deleteRequest));
    app.get(
      `${root}/watch`,
      { config: { openapi: descriptions.watch }, exposeHeadRoute: false },
      stream(watchRequest, "holder"),
    );
  };

  const mountSessions = (app: HttpApp) => {
    const path = `${root}/sessions`;
    app.post(
      path,
      { config: { openapi: descriptions.sessionCreate }, bodyLimit: jsonBytesMax },
      call(({ body }) => ({ ...jsonFields(body), type: "session-create" })),
    );
    app.post(
      `${path}/:id/renew`,
      { config: { openapi: descriptions.sessionRenew }, bodyLimit: jsonBytesMax },
      call((request) => ({ type: "session-renew", session: parameter(request, "id") })),
    );
    app.delete(
      `${path}/:id`,
      { config: { openapi: descriptions.sessionEnd } },
      call((request) => ({ type: "session-end", session: parameter(request, "id") })),
    );
  };

  const mountClaims = (app: HttpApp, kind: ClaimKind) => {
    const holderName = kind === "lock" ? "holder" : "leader";
    const path = `${root}/${kind}s/:name`;
    app.post(
      path,
      { config: { openapi: descriptions.claim }, bodyLimit: jsonBytesMax },
      call((request) => ({
        ...jsonFields(request.body),
        type: "claim",
        kind,
        name: parameter(request, "name"),
      })),
    );
    app.get(
      path,
      { config: { openapi: descriptions.holder } },
      call(
        (request) => holderRequest(request, kind),
        (answer) => renameHolder(answer, holderName),
      ),
    );
    app.delete(
      path,
      { config: { openapi: descriptions.release } },
      call((request) => releaseRequest(request, kind)),
    );
    app.get(
      `${path}/watch`,
      { config: { openapi: descriptions.observe }, exposeHeadRoute: false },
      stream(
        (request) => ({ type: "observe", kind, name: parameter(request, "name") }),
        holderName,
      ),
    );
  };

  return {
    routes: (app) =>
      void app.register(async (scope) => {
        scope.removeAllContentTypeParsers();
        // Values are bytes, whatever a client calls them.
        scope.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) =>
          done(null, body),
        );
        const describe = { config: { openapi: descriptions.describe } };
        scope.get(
          root,
          describe,
          call(() => ({ type: "describe" })),
        );
        mountKeys(scope);
        mountSessions(scope);
        mountClaims(scope, "lock");
        mountClaims(scope, "election");
      }),
    endStreams() {
      isStopping = true;
      for (const gone of lasting) gone.abort(stopping());
    },
  };
}

const stopping = () =>
  new SkerryError({
    code: "stopping",
    message: "this gateway is stopping",
    hint: "try again; another node answers meanwhile",
    retryable: true,
  });

const same = (answer: HttpAnswer) => answer;

function renameHolder(answer: HttpAnswer, name: "holder" | "leader"): HttpAnswer {
  if (answer.status !== 200 || name === "holder") return answer;
  const { holder, ...rest } = answer.body as { holder: unknown };
  return { ...answer, body: { ...rest, leader: holder } };
}

function sendError(reply: HttpReply, error: unknown): HttpReply {
  // What is no SkerryError is the gateway's to log, unless nobody is there to be answered.
  if (error instanceof SkerryError || reply.raw.closed) return send(reply, errorAnswer(error));
  throw error;
}

const send = (reply: HttpReply, { status, headers, body }: HttpAnswer) =>
  reply
    .code(status)
    .headers({ ...headers })
    .send(body);

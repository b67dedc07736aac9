/**
 * The node's way in for HTTP: finds the route, sends the request to a pod anywhere in the cell, and
 * passes the answer back as it comes. Holds no request longer than it must and promises nothing it
 * does not know: what may have been carried out is said so.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Duplex, Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { SkerryError } from "../../../lib/errors.ts";
import { httpErrorOf } from "../../../runtime/http-error/index.ts";
import { meshErrorHeader, pairsToRecord, requestHeaders } from "../../headers.ts";
import { createMatcher, type RouteMatcher } from "../../routes/match.ts";
import type { Backend, RouteTable } from "../../routes/table.ts";
import { attempts, clientGone, type AttemptsDependencies, type Client } from "./attempts.ts";
import { startExchange, type Exchange } from "./exchange.ts";
import { answerFor, meshFailure, type Failure } from "./failure.ts";
import {
  isIdempotent,
  readBody,
  refuse,
  targetOf,
  type RequestBody,
  type Target,
} from "./request.ts";
import { joinSockets, startUpgrade, writeSwitch } from "./upgrade.ts";

export interface Ingress {
  handle(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  setTable(table: RouteTable): void;
  /** Requests under way. */
  readonly underWay: number;
  /** Answers from now on close their connections. */
  drain(): void;
}

const underWayMax = 4096;

export function createIngress(deps: AttemptsDependencies): Ingress {
  let routes: { readonly table: RouteTable; readonly matcher: RouteMatcher } | undefined;
  let backendByName = new Map<string, Backend>();
  let underWay = 0;
  let draining = false;

  const route = (target: Target): Backend => {
    if (!routes) throw starting();
    const index = routes.matcher.match(target.host, target.path);
    const backend = index === undefined ? undefined : routes.table.backends[index];
    if (backend) return backend;
    throw new SkerryError({
      code: "no-route",
      message: `no Ingress routes host "${target.hostName}" and path ${target.path.slice(0, 200)}`,
      hint: "kubectl get ingress -A shows the rules",
    });
  };
  const endpointsOf = (name: string) => () => backendByName.get(name)?.endpoints ?? [];

  const forward = async (
    request: IncomingMessage,
    response: ServerResponse,
    client: Client,
  ): Promise<void> => {
    const target = targetOf(request);
    const backend = route(target);
    const body = await readBody(request);
    const method = (request.method ?? "GET") as Dispatcher.HttpMethod;
    const outgoing = outgoingHeaders(request, target);
    const result = await attempts(
      deps,
      {
        endpoints: endpointsOf(backend.name),
        isIdempotent: isIdempotent(method),
        isRepeatable: body.state !== "streamed",
        client,
      },
      ({ dispatcher, headers }) => {
        const exchange = startExchange(
          dispatcher,
          {
            method,
            path: target.pathAndQuery,
            headers: headers.length > 0 ? [...outgoing, ...headers] : outgoing,
            body: bodyOf(body),
          },
          {
            response,
            judge: headers.length > 0 ? meshFailureOf : undefined,
            closeAfter: () => draining || !request.complete,
          },
        );
        return { accepted: answered(exchange), abort: exchange.abort };
      },
    );
    switch (result.state) {
      case "no-endpoint":
        throw noEndpoint(backend.name);
      case "failed":
        throw answerFor(backend.name, result.failure).error;
      case "answered":
        try {
          await result.answer.ended;
        } finally {
          result.done();
        }
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const client: Client = {};
    response.once("close", () => {
      if (!response.writableFinished) clientGone(client);
    });
    underWay++;
    try {
      if (underWay > underWayMax) throw busy();
      await forward(request, response, client);
      countStatus(response.statusCode);
    } catch (error) {
      if (client.gone || response.headersSent) {
        deps.counter.add("ingress-aborted");
        response.destroy();
        return;
      }
      const { status, error: known } = statusOf(error);
      refuse(request, response, status, known);
      countStatus(status);
    } finally {
      underWay--;
    }
  };

  const countStatus = (status: number) => {
    const family = Math.floor(status / 100);
    if (family === 2 || family === 3 || family === 4 || family === 5)
      deps.counter.add(`ingress-${family}xx`);
  };

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const client: Client = {};
    socket.once("close", () => clientGone(client));
    const target = targetOf(request);
    const backend = route(target);
    const protocol = request.headers.upgrade ?? "";
    const outgoing = outgoingHeaders(request, target);
    const result = await attempts(
      deps,
      { endpoints: endpointsOf(backend.name), isIdempotent: false, isRepeatable: true, client },
      ({ dispatcher, headers }) =>
        startUpgrade(dispatcher, {
          path: target.pathAndQuery,
          method: request.method ?? "GET",
          headers: pairsToRecord([...outgoing, ...headers]),
          protocol,
        }),
    );
    if (result.state === "no-endpoint") throw noEndpoint(backend.name);
    if (result.state === "failed") throw answerFor(backend.name, result.failure).error;
    const { answer, done } = result;
    deps.counter.add("upgrades");
    writeSwitch(socket, protocol, answer.headers);
    if (head.length > 0) answer.socket.write(head);
    await joinSockets(socket, answer.socket);
    done();
  };

  return {
    handle: (request, response) => void handle(request, response),
    upgrade: (request, socket, head) => {
      // Node takes its own listener away with the upgrade; a reset must not end the thread.
      socket.on("error", () => {});
      void (async () => {
        try {
          await upgrade(request, socket, head);
        } catch (error) {
          const { status, error: known } = statusOf(error);
          const words = `${known.message}\n`;
          socket.end(
            `HTTP/1.1 ${status} ${status >= 500 ? "Unavailable" : "Refused"}\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(words)}\r\n\r\n${words}`,
          );
        }
      })();
    },
    setTable(next) {
      routes = { table: next, matcher: createMatcher(next) };
      backendByName = new Map(next.backends.map((backend) => [backend.name, backend]));
      deps.balancer.retain(next.backends.flatMap(({ endpoints }) => endpoints));
    },
    get underWay() {
      return underWay;
    },
    drain() {
      draining = true;
    },
  };
}

async function answered(exchange: Exchange): Promise<Exchange> {
  await exchange.accepted;
  return exchange;
}

function meshFailureOf(headers: IncomingHttpHeaders): Failure | undefined {
  const code = headers[meshErrorHeader];
  return code === undefined ? undefined : meshFailure(String(code));
}

function bodyOf(body: RequestBody): Dispatcher.DispatchOptions["body"] {
  switch (body.state) {
    case "none":
      return null;
    case "kept":
      return body.bytes;
    case "streamed":
      // undici takes any iterable of bytes; its types name streams only.
      return body.stream as unknown as Readable;
  }
}

function outgoingHeaders(request: IncomingMessage, target: Target): string[] {
  return requestHeaders(request.rawHeaders, {
    at: "ingress",
    remoteAddress: request.socket.remoteAddress ?? "",
    host: target.host,
  });
}

const statusByCode: Readonly<Record<string, number>> = {
  "no-route": 404,
  starting: 503,
  "no-endpoint": 503,
  "ingress-busy": 503,
  "backend-unreachable": 503,
  "backend-failed": 502,
  "backend-timeout": 504,
};

function statusOf(error: unknown): { status: number; error: SkerryError } {
  const { status, body } = httpErrorOf(error);
  const known = error instanceof SkerryError ? error : new SkerryError(body.error);
  return { status: statusByCode[known.code] ?? status, error: known };
}

/** A 404 would be believed: by caches, by clients that then do not try again. */
const starting = () =>
  new SkerryError({
    code: "starting",
    message: "this node does not know its routes yet",
    hint: "it has just started; try again in a second, or another node",
    retryable: true,
  });

const noEndpoint = (backend: string) =>
  new SkerryError({
    code: "no-endpoint",
    message: `no pod of ${backend} is ready`,
    hint: "kubectl get pods shows why",
    retryable: true,
  });

const busy = () =>
  new SkerryError({
    code: "ingress-busy",
    message: `${underWayMax} requests are under way on this node`,
    hint: "try again, or another node",
    retryable: true,
  });

/**
 * The node's way in for HTTP: finds the route, sends the request to a pod anywhere in the cell, and
 * passes the answer back as it comes. Holds no request longer than it must and promises nothing it
 * does not know: what may have been carried out is said so.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Dispatcher } from "undici";
import { SkerryError } from "../../../lib/errors.ts";
import { httpErrorOf } from "../../../runtime/http/index.ts";
import { meshErrorHeader, requestHeaders, responseHeaders } from "../../headers.ts";
import { createMatcher, type RouteMatcher } from "../../routes/match.ts";
import { emptyTable, type Backend, type RouteTable } from "../../routes/table.ts";
import { AttemptFailed, attempts, type Attempt, type AttemptsDependencies } from "./attempts.ts";
import { answerFor, meshFailure } from "./failure.ts";
import { isIdempotent, readBody, refuse, targetOf, type Target } from "./request.ts";
import { joinSockets, writeSwitch } from "./upgrade.ts";

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
  let table = emptyTable(deps.node);
  let matcher: RouteMatcher = createMatcher(table);
  let backendByName = new Map<string, Backend>();
  let underWay = 0;
  let draining = false;

  const route = (target: Target): Backend => {
    const index = matcher.match(target.host, target.path);
    const backend = index === undefined ? undefined : table.backends[index];
    if (backend) return backend;
    throw new SkerryError({
      code: "no-route",
      message: `no Ingress routes host "${target.hostName}" and path ${target.path.slice(0, 200)}`,
      hint: "kubectl get ingress -A shows the rules",
    });
  };
  const endpointsOf = (name: string) => () => backendByName.get(name)?.endpoints ?? [];

  const send =
    (request: IncomingMessage, target: Target, body: Buffer | AsyncIterable<Uint8Array> | null) =>
    async ({ dispatcher, headers, signal }: Attempt): Promise<Dispatcher.ResponseData> => {
      const answer = await dispatcher.request({
        method: (request.method ?? "GET") as Dispatcher.HttpMethod,
        path: target.pathAndQuery,
        headers: [...outgoingHeaders(request, target), ...headers],
        body: body as Dispatcher.DispatchOptions["body"],
        signal,
      });
      const meshError = headers.length > 0 ? answer.headers[meshErrorHeader] : undefined;
      if (meshError === undefined) return answer;
      await answer.body.dump();
      throw new AttemptFailed(meshFailure(String(meshError)));
    };

  const forward = async (
    request: IncomingMessage,
    response: ServerResponse,
    client: AbortSignal,
  ): Promise<void> => {
    const target = targetOf(request);
    const backend = route(target);
    const body = await readBody(request);
    const result = await attempts(
      deps,
      {
        endpoints: endpointsOf(backend.name),
        isIdempotent: isIdempotent(request.method ?? ""),
        isRepeatable: body.state !== "streamed",
        signal: client,
      },
      send(
        request,
        target,
        body.state === "none" ? null : body.state === "kept" ? body.bytes : body.stream,
      ),
    );
    if (result.state === "no-endpoint") {
      refuse(request, response, 503, noEndpoint(backend.name));
      return;
    }
    if (result.state === "failed") {
      const { status, error } = answerFor(backend.name, result.failure);
      refuse(request, response, status, error);
      return;
    }
    const { answer, done } = result;
    try {
      const headers = responseHeaders(answer.headers);
      if (draining || !request.complete) headers["connection"] = "close";
      response.writeHead(answer.statusCode, headers);
      await pipeline(answer.body, response);
    } finally {
      done();
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const client = new AbortController();
    response.once("close", () => {
      if (!response.writableFinished) client.abort(new Error("the client went away"));
    });
    underWay++;
    try {
      if (underWay > underWayMax) throw busy();
      await forward(request, response, client.signal);
      countStatus(response.statusCode);
    } catch (error) {
      if (client.signal.aborted || response.headersSent) {
        // Cut short: an answer that is not whole must not look like one.
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
    const client = new AbortController();
    const onClose = () => client.abort(new Error("the client went away"));
    socket.once("close", onClose);
    const target = targetOf(request);
    const backend = route(target);
    const protocol = request.headers.upgrade ?? "";
    const result = await attempts(
      deps,
      {
        endpoints: endpointsOf(backend.name),
        isIdempotent: false,
        isRepeatable: true,
        signal: client.signal,
      },
      ({ dispatcher, headers, signal }) =>
        dispatcher.upgrade({
          path: target.pathAndQuery,
          method: request.method ?? "GET",
          headers: pairsToRecord([...outgoingHeaders(request, target), ...headers]),
          protocol,
          signal,
        }),
    );
    if (result.state === "no-endpoint") throw noEndpoint(backend.name);
    if (result.state === "failed") throw answerFor(backend.name, result.failure).error;
    const { answer, done } = result;
    socket.removeListener("close", onClose);
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
      table = next;
      matcher = createMatcher(next);
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

function outgoingHeaders(request: IncomingMessage, target: Target): string[] {
  return requestHeaders(request.rawHeaders, {
    at: "ingress",
    remoteAddress: request.socket.remoteAddress ?? "",
    host: target.host,
  });
}

/** undici's `upgrade` takes no flat list; names that come twice are joined as RFC 9110 allows. */
export function pairsToRecord(pairs: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const name = (pairs[i] ?? "").toLowerCase();
    const before = record[name];
    record[name] = before === undefined ? (pairs[i + 1] ?? "") : `${before}, ${pairs[i + 1]}`;
  }
  return record;
}

const statusByCode: Readonly<Record<string, number>> = {
  "no-route": 404,
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

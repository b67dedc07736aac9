/**
 * The node's way in for HTTP: finds the route, sends the request to a pod anywhere in the cell, and
 * passes the answer back as it comes. Holds no request longer than it must and promises nothing it
 * does not know: what may have been carried out is said so.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Duplex, Readable } from "node:stream";
import type { Dispatcher } from "undici";
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { meshErrorHeader, pairsToRecord, requestHeaders } from "../../headers.ts";
import { createMatcher, type RouteMatcher } from "../../routes/match.ts";
import type { Backend, RouteTable } from "../../routes/table.ts";
import type { Admission } from "./admission.ts";
import { busy, noEndpoint, overloaded, refusalReasonOf, starting, statusOf } from "./answers.ts";
import { attempts, clientGone, type AttemptsDependencies, type Client } from "./attempts.ts";
import type { Bodies, RequestBody } from "./body.ts";
import type { Connections } from "./connections.ts";
import type { RequestOutcome } from "./counts.ts";
import { startExchange, type Exchange } from "./exchange.ts";
import { answerFor, meshFailure, type Failure } from "./failure.ts";
import { methodClass, type Latency } from "./latency.ts";
import { hasEnded, isRepeatableByItself, refuse, targetOf, type Target } from "./request.ts";
import { joinSockets, startUpgrade, writeSwitch } from "./upgrade.ts";

export interface Ingress {
  handle(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  setTable(table: RouteTable): void;
  /** Requests under way; a connection that changes its protocol is one until it has. */
  readonly underWay: number;
  /** Answers from now on close their connections. */
  drain(): void;
}

export type IngressDependencies = AttemptsDependencies & {
  readonly clock: Clock;
  readonly admission: Admission;
  readonly bodies: Bodies;
  readonly connections: Connections;
  readonly latency: Latency;
};

export type IngressOptions = {
  readonly underWayMax: number;
  /** A client that takes nothing of an answer for this long loses it. */
  readonly clientStallMs: number;
  /** An answer that nobody waits for any more may still come for so long. */
  readonly unheardMs: number;
};

export function createIngress(deps: IngressDependencies, options: IngressOptions): Ingress {
  const { underWayMax } = options;
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
    let body = await deps.bodies.read(request, (fault) => clientGone(client, fault));
    const method = (request.method ?? "GET") as Dispatcher.HttpMethod;
    const outgoing = outgoingHeaders(request, target);
    const sending = attempts(
      deps,
      {
        endpoints: endpointsOf(backend.name),
        isIdempotent: isRepeatableByItself(request),
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
            watchStall,
            giveUpLater: (giveUp) => deps.clock.after(options.unheardMs, giveUp),
          },
        );
        return { accepted: answered(exchange), started: exchange.started, abort: exchange.abort };
      },
    );
    const result = await sending.finally(() => {
      // Nothing is sent again from here on.
      if (body.state === "kept") body.release();
      body = { state: "none" };
    });
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

  const watchStall = (response: ServerResponse) => {
    const timer = deps.clock.after(options.clientStallMs, () => {
      deps.counter.add("refused:slow-reader");
      response.destroy();
    });
    return () => timer.cancel();
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const client: Client = {};
    const { socket } = request;
    const startedMs = deps.clock.monotonicMs();
    const ended = (outcome: RequestOutcome | undefined) => {
      if (!outcome) return;
      deps.counter.add(`requests:${outcome}`);
      const seconds = (deps.clock.monotonicMs() - startedMs) / 1000;
      deps.latency.record(`${methodClass(request.method)}:${outcome}`, seconds);
    };
    deps.connections.busy(socket);
    response.once("close", () => {
      deps.connections.idle(socket);
      if (!response.writableFinished && !client.gone) clientGone(client);
    });
    underWay++;
    try {
      await admit(socket, client);
      await forward(request, response, client);
      ended(outcomeOf(response.statusCode));
    } catch (error) {
      const isFault = client.gone === undefined || client.gone instanceof SkerryError;
      if (!isFault || response.headersSent) {
        ended(response.headersSent ? "cut" : "client-gone");
        response.destroy();
        return;
      }
      ended(outcomeOf(refuseFor(request, response, error)));
    } finally {
      underWay--;
    }
  };

  const refuseFor = (request: IncomingMessage, response: ServerResponse, error: unknown) => {
    const { status, error: known } = statusOf(error);
    countRefusal(known);
    refuse(request, response, status, known);
    return status;
  };

  const countRefusal = (error: SkerryError) => {
    const reason = refusalReasonOf(error);
    if (reason) deps.counter.add(`refused:${reason}`);
  };

  /** Takes its turn as a request does; throws what turns it away. */
  const admit = async (socket: Duplex, client: Client): Promise<void> => {
    if (underWay > underWayMax) throw busy(underWayMax);
    const admitted = await deps.admission.admit(() => hasEnded(socket));
    if (admitted === "gone" && !client.gone) clientGone(client);
    if (client.gone) throw client.gone;
    if (admitted === "overloaded") throw overloaded();
  };

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const client: Client = {};
    deps.connections.busy(socket);
    socket.once("close", () => clientGone(client));
    underWay++;
    const switched = switchOver(request, socket, client).finally(() => underWay--);
    const { protocol, answer, done } = await switched;
    deps.counter.add("upgrades:all");
    writeSwitch(socket, protocol, answer.headers);
    if (head.length > 0) answer.socket.write(head);
    await joinSockets(socket, answer.socket);
    done();
  };

  const switchOver = async (request: IncomingMessage, socket: Duplex, client: Client) => {
    await admit(socket, client);
    const target = targetOf(request);
    const backend = route(target);
    const protocol = request.headers.upgrade ?? "";
    const outgoing = outgoingHeaders(request, target);
    const result = await attempts(
      deps,
      { endpoints: endpointsOf(backend.name), isIdempotent: true, isRepeatable: true, client },
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
    return { protocol, answer: result.answer, done: result.done };
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
          countRefusal(known);
          const outcome = outcomeOf(status);
          if (outcome) deps.counter.add(`requests:${outcome}`);
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

function outcomeOf(status: number): RequestOutcome | undefined {
  const family = Math.floor(status / 100);
  return family === 2 || family === 3 || family === 4 || family === 5 ? `${family}xx` : undefined;
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

/**
 * The mesh port: requests of other nodes of the cell for pods of this one. Every request is judged
 * by the certificate of its connection and by the table: only pods of this node, by address.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex, Readable } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { Dispatcher } from "undici";
import type { Clock } from "../../../lib/clock.ts";
import { explain, SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { verifyPeer, type Trust } from "../../../transport/index.ts";
import {
  endpointHeader,
  meshErrorHeader,
  pairsToRecord,
  pingEndpoint,
  requestHeaders,
} from "../../headers.ts";
import type { RouteTable } from "../../routes/table.ts";
import type { Admission } from "./admission.ts";
import { streamOf } from "./body.ts";
import type { Counter } from "./counts.ts";
import { startExchange } from "./exchange.ts";
import { failureOf } from "./failure.ts";
import { hasEnded, isRepeatableByItself, refuse } from "./request.ts";
import { joinSockets, writeSwitch } from "./upgrade.ts";
import type { Upstreams } from "./upstreams.ts";

export interface Mesh {
  handle(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  setTable(table: RouteTable): void;
  /** Of pods of this node: those of the table, and for a moment those that left it. */
  served(): ReadonlySet<string>;
  readonly underWay: number;
  /** New requests are refused as not sent, so that they go elsewhere. */
  drain(): void;
}

/** Tables of other nodes are a moment older; a pod that ends still answers what is on its way. */
const leavingMs = 10_000;

export function createMesh(deps: {
  readonly clock: Clock;
  /** One that turns nobody away: how long to wait is for the ingress that asks to say. */
  readonly admission: Admission;
  readonly upstreams: Upstreams;
  readonly counter: Counter;
  readonly log: Log;
  readonly trust: () => Trust | undefined;
  readonly nowMs: () => number;
}): Mesh {
  let servedAddresses: ReadonlySet<string> = new Set();
  const leavesAtByAddress = new Map<string, number>();
  let underWay = 0;
  let draining = false;

  /** Undefined when the peer is a node of this cell; otherwise why not. */
  const objection = (socket: Duplex): string | undefined => {
    const trust = deps.trust();
    if (!trust) return "this node has no identity yet";
    const verdict = verifyPeer(socket as TLSSocket, [trust], deps.nowMs());
    if (!verdict.ok) return verdict.message;
    const { id, path } = verdict.subject;
    return path[0] === "node" ? undefined : `${id} is not a node`;
  };

  const turnAway = (socket: Duplex, why: string) => {
    deps.counter.add("mesh-refused:peer");
    deps.log.warn("mesh connection refused", { why });
    socket.destroy();
  };

  const isServed = (address: string) =>
    servedAddresses.has(address) ||
    (leavesAtByAddress.get(address) ?? -Infinity) > deps.clock.monotonicMs();

  const dispatcherOf = (request: IncomingMessage): Dispatcher | undefined => {
    const address = request.headers[endpointHeader];
    if (typeof address !== "string" || !isServed(address)) return undefined;
    const separator = address.lastIndexOf(":");
    return deps.upstreams.local(
      {
        ip: address.slice(0, separator).replace(/^\[|\]$/g, ""),
        port: Number(address.slice(separator + 1)),
      },
      isRepeatableByItself(request) ? "repeatable" : "once",
    );
  };

  const fail = (
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    reason: string,
    message: string,
  ) => {
    const error = new SkerryError({ code: "mesh-refused", message });
    refuse(request, response, status, error, { [meshErrorHeader]: reason });
  };

  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (draining) return fail(request, response, 503, "stopping", "this node's mesh is stopping");
    if (request.headers[endpointHeader] === pingEndpoint) {
      response.writeHead(204).end();
      return;
    }
    const { socket } = request;
    if ((await deps.admission.admit(() => hasEnded(socket))) === "gone")
      return void response.destroy();
    const dispatcher = dispatcherOf(request);
    if (!dispatcher) {
      deps.counter.add("mesh-refused:endpoint-unknown");
      const address = String(request.headers[endpointHeader] ?? "nothing").slice(0, 100);
      return fail(request, response, 403, "endpoint-unknown", `${address} is no pod of this node`);
    }
    const hasBody =
      request.headers["transfer-encoding"] !== undefined ||
      Number(request.headers["content-length"] ?? 0) > 0;
    const exchange = startExchange(
      dispatcher,
      {
        method: (request.method ?? "GET") as Dispatcher.HttpMethod,
        path: request.url ?? "/",
        headers: requestHeaders(request.rawHeaders, { at: "mesh" }),
        // undici takes any iterable of bytes; its types name streams only.
        body: hasBody ? (streamOf(request) as unknown as Readable) : null,
      },
      { response },
    );
    response.once("close", () => {
      if (!response.writableFinished) exchange.abort(new Error("the peer went away"));
    });
    try {
      await exchange.accepted;
    } catch (error) {
      if (response.destroyed) return;
      const { state, cause } = failureOf(error);
      return fail(request, response, state === "timeout" ? 504 : 502, state, explain(cause));
    }
    await exchange.ended;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const why = objection(request.socket);
    if (why !== undefined) return turnAway(request.socket, why);
    deps.counter.add("mesh-requests:all");
    underWay++;
    try {
      await forward(request, response);
    } catch (error) {
      // Either side broke off in the middle; the other one must see that, too.
      deps.log.debug("mesh request was cut short", { error });
      response.destroy();
    } finally {
      underWay--;
    }
  };

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const why = objection(socket);
    if (why !== undefined) return turnAway(socket, why);
    const dispatcher = draining ? undefined : dispatcherOf(request);
    if (!dispatcher) return turnAway(socket, "an upgrade for no pod of this node");
    const protocol = request.headers.upgrade ?? "";
    const answer = await dispatcher.upgrade({
      path: request.url ?? "/",
      method: request.method ?? "GET",
      headers: pairsToRecord(requestHeaders(request.rawHeaders, { at: "mesh" })),
      protocol,
    });
    writeSwitch(socket, protocol, answer.headers);
    if (head.length > 0) answer.socket.write(head);
    await joinSockets(socket, answer.socket);
  };

  return {
    handle: (request, response) => void handle(request, response),
    upgrade: (request, socket, head) => {
      socket.on("error", () => {});
      void (async () => {
        try {
          await upgrade(request, socket, head);
        } catch (error) {
          deps.log.debug("mesh upgrade failed", { error });
          socket.destroy();
        }
      })();
    },
    setTable({ served }) {
      const nowMs = deps.clock.monotonicMs();
      for (const address of servedAddresses) leavesAtByAddress.set(address, nowMs + leavingMs);
      for (const address of served) leavesAtByAddress.delete(address);
      for (const [address, atMs] of leavesAtByAddress)
        if (atMs <= nowMs) leavesAtByAddress.delete(address);
      servedAddresses = new Set(served);
    },
    served: () => new Set([...servedAddresses, ...leavesAtByAddress.keys()]),
    get underWay() {
      return underWay;
    },
    drain() {
      draining = true;
    },
  };
}

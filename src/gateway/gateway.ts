/**
 * The applications' listener. Loopback is not trusted: every request but those for its health carries a token
 * (rule Z). What is served comes as routes of other rooms; this one counts, limits and drains.
 */
import { deadline, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import {
  createBoundedHttpServer,
  createHttpApp,
  httpErrorOf,
  setCaller,
  type HttpApp,
  type Routes,
} from "../runtime/http/index.ts";
import { listenOn } from "../runtime/listen/index.ts";
import type { ConnectionGate } from "../runtime/connections/index.ts";
import type { Metrics } from "../runtime/metrics/index.ts";
import { endSpan, noTracer, spanOfRequest, type Tracer } from "../runtime/trace/index.ts";
import {
  openApiDocument,
  ownDescriptions,
  type MountedRoute,
  type RouteDescription,
} from "./openapi.ts";
import { createAdmission } from "./admission.ts";
import { limitsDefault, type GatewayLimits, type Subject } from "./limits.ts";

export type GatewayDependencies = {
  /** Undefined for a token that is not valid now. Called for every request: cache there. */
  readonly authenticate: (token: string) => Promise<Subject | undefined>;
  /** Default: whoever is authenticated may call every route. */
  readonly authorize?: (call: {
    readonly subject: Subject;
    readonly method: string;
    /** The route's pattern: `/v1/streams/:name/entries`. */
    readonly route: string;
    readonly parameters: Readonly<Record<string, string>>;
  }) => boolean;
  readonly routes: readonly Routes[];
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A span a request; default: none. */
  readonly tracer?: Tracer;
  /** Why this node cannot do its work yet, for `/readyz`; undefined when it can. */
  readonly notReady?: () => string | undefined;
};

export type GatewayOptions = {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly limits?: Partial<GatewayLimits>;
};

export interface Gateway {
  readonly host: string;
  readonly port: number;
  /** `http://127.0.0.1:7480` */
  readonly url: string;
  /** New requests get 503 at once, those under way may end; then every connection closes. */
  stop(): Promise<void>;
}

/** Listens when it resolves. Throws `port-in-use` or `cannot-listen`. */
export async function createGateway(
  deps: GatewayDependencies,
  options: GatewayOptions,
): Promise<Gateway> {
  const limits = { ...limitsDefault, ...options.limits };
  const tracer = deps.tracer ?? noTracer;
  const requests = deps.metrics.histogram(
    "skerry_gateway_request_seconds",
    "Time to answer a request, by route and status.",
    [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    ["route", "status"],
  );
  const refusals = deps.metrics.counter(
    "skerry_gateway_refusals_total",
    "Connections and requests turned away before a route saw them, by reason.",
    ["reason"],
  );
  const refused = (reason: string) => refusals.inc({ reason });
  let gate: ConnectionGate | undefined;
  let destroyUpgraded: (() => void) | undefined;
  const app = createHttpApp({
    log: deps.log,
    bodyBytesMax: limits.bodyBytesMax,
    serverFactory: (handler) => {
      const bounded = createBoundedHttpServer(handler, limits, refused);
      ({ gate, destroyUpgraded } = bounded);
      return bounded.server;
    },
  });
  const connections = deps.metrics.gauge("skerry_gateway_connections", "Connections open now.");
  deps.metrics.beforeRender(() => connections.set(gate?.open ?? 0));
  const admit = createAdmission(
    { ...deps, refused, isOverflow: (socket) => gate?.isOverflow(socket) ?? false },
    limits,
  );
  const underWay = new Set<symbol>();
  let idle = Promise.withResolvers<void>();
  let stopping: Promise<void> | undefined;

  app.addHook("onRequest", async (request, reply) => {
    const startedMs = deps.clock.monotonicMs();
    const id = Symbol(request.url);
    underWay.add(id);
    const route = request.routeOptions.url;
    const span = spanOfRequest(tracer, request.raw, route);
    reply.raw.once("close", () => {
      underWay.delete(id);
      if (underWay.size === 0) idle.resolve();
      endSpan(span, reply.statusCode);
      const seconds = (deps.clock.monotonicMs() - startedMs) / 1000;
      requests.observe({ route: route ?? "unknown", status: String(reply.statusCode) }, seconds);
    });
    if (stopping) {
      void reply.header("connection", "close").header("retry-after", "1");
      throw new SkerryError({
        code: "stopping",
        message: "this gateway is stopping",
        hint: "try again; another node answers meanwhile",
        retryable: true,
      });
    }
    if (route !== undefined && openPaths.has(route)) return;
    const { headers } = request;
    const admission = await admit({
      socket: request.raw.socket,
      address: request.ip,
      authorization: headers.authorization ?? offeredToken(headers["sec-websocket-protocol"]),
      contentLength: headers["content-length"],
      isChunked: headers["transfer-encoding"] !== undefined,
    });
    if (!admission.ok) {
      void reply.headers(admission.headers);
      throw admission.error;
    }
    const { subject, release } = admission;
    if (reply.raw.closed) release();
    else reply.raw.once("close", release);
    setCaller(request, subject.id);
    const parameters = (request.params ?? {}) as Record<string, string>;
    if (
      route !== undefined &&
      deps.authorize?.({ subject, method: request.method, route, parameters }) === false
    ) {
      throw new SkerryError({
        code: "forbidden",
        message: `${subject.id} may not ${request.method} ${request.url.split("?")[0]}`,
      });
    }
  });
  app.addHook("onError", async (request, _reply, error) => {
    if (httpErrorOf(error).status >= 500)
      deps.log.warn("request failed", { method: request.method, url: request.url, error });
  });
  mount(app, deps);
  await app.ready();
  const { port } = await listenOn(app.server, { ...options, what: "the gateway" });
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;

  return {
    host: options.host,
    port,
    url: `http://${host}:${port}`,
    stop() {
      stopping ??= (async () => {
        idle = Promise.withResolvers();
        const limit = deadline(deps.clock, limits.drainMs);
        const late = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
        if (underWay.size > 0) await Promise.race([idle.promise, late]);
        limit.done();
        if (underWay.size > 0)
          deps.log.warn("requests were cut off at the end of the drain", {
            requests: underWay.size,
          });
        const closed = new Promise((resolve) => app.server.close(resolve));
        app.server.closeAllConnections();
        destroyUpgraded?.();
        await closed;
        await app.close();
      })();
      return stopping;
    },
  };
}

/** A browser's WebSocket can send no other header: it offers `bearer.TOKEN` beside its protocol. */
function offeredToken(protocols: string | undefined): string | undefined {
  const token = /(?:^|,)\s*bearer\.([\w.~-]+)\s*(?:,|$)/.exec(protocols ?? "")?.[1];
  return token === undefined ? undefined : `Bearer ${token}`;
}

/** For supervisors: they tell nothing but that this process answers, and that it can do its work. */
const openPaths: ReadonlySet<string> = new Set(["/livez", "/readyz", "/healthz"]);

function mount(
  app: HttpApp,
  { routes: rooms, notReady }: Pick<GatewayDependencies, "routes" | "notReady">,
): void {
  const routes: MountedRoute[] = [];
  app.addHook("onRoute", ({ method, url, config }) => {
    for (const each of [method].flat()) {
      if (each === "HEAD") continue;
      const { openapi } = (config ?? {}) as { openapi?: RouteDescription };
      routes.push({ method: each, url, ...(openapi && { description: openapi }) });
    }
  });
  for (const room of rooms) room(app);
  const { alive, ready, document } = ownDescriptions;
  for (const path of ["/livez", "/healthz"])
    app.get(path, { config: { openapi: alive } }, async () => ({ ok: true }));
  app.get("/readyz", { config: { openapi: ready } }, async () => {
    const reason = notReady?.();
    if (reason === undefined) return { ok: true };
    throw new SkerryError({ code: "not-ready", message: reason, retryable: true });
  });
  app.get("/openapi.json", { config: { openapi: document } }, async () => openApiDocument(routes));
}

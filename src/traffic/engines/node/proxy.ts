/** The built-in engine: ingress and mesh listeners over shared upstream pools. Runs in its thread. */
import type { Server } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import { deadline, every, type Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { listenAlso, listenOn, type SecondListener } from "../../../runtime/listen/index.ts";
import { createServer } from "../../../runtime/node-http/index.ts";
import { serverTlsOptions } from "../../../transport/index.ts";
import { createBalancer } from "../../balance.ts";
import type {
  ListenAddress,
  ProxyIdentity,
  ProxyLimits,
  ProxyPorts,
  ProxyStart,
} from "../../protocol.ts";
import { addressOf, type RouteTable } from "../../routes/table.ts";
import { createRetryBudget } from "../../retry-budget.ts";
import { createAdmission } from "./admission.ts";
import { createBodies } from "./body.ts";
import { followConnections } from "./connections.ts";
import { createCounter, type Counts, type Levels } from "./counts.ts";
import { createIngress } from "./ingress.ts";
import { createLatency, type Latencies } from "./latency.ts";
import { createMesh } from "./mesh.ts";
import { createNodeWatch } from "./node-watch.ts";
import { createUpstreams } from "./upstreams.ts";

export interface Proxy {
  readonly ports: ProxyPorts;
  setTable(table: RouteTable): void;
  setIdentity(identity: ProxyIdentity): void;
  setIngressAlso(hosts: readonly string[]): Promise<void>;
  stop(options: { readonly graceMs: number }): Promise<void>;
}

const countsIntervalMs = 1000;
const drainPollMs = 20;
/** Longer than the pings and requests of a moment; a node that stops is found out by then. */
const lingerMs = 250;

/** Throws `port-in-use` or `cannot-listen`. */
export async function startProxy(
  deps: {
    clock: Clock;
    random: Random;
    log: Log;
    onCounts: (added: Counts, now: Levels, latencies: Latencies) => void;
  },
  options: ProxyStart,
): Promise<Proxy> {
  const { node, limits } = options;
  let identity = options.identity;
  const nowMs = () => deps.clock.wallMs() + identity.timeOffsetMs;
  const counter = createCounter();
  const latency = createLatency();
  const upstreams = createUpstreams({ clock: deps.clock, nowMs }, limits);
  const balancer = createBalancer(deps, {
    node,
    onEjected: ({ node, ip, port }) => {
      counter.add("ejections:all");
      deps.log.info("a pod is left out for a moment: attempts at it failed", { node, ip, port });
    },
    onPanic: () => counter.add("panics:all"),
  });
  const nodeWatch = createNodeWatch(
    {
      clock: deps.clock,
      random: deps.random,
      ping: upstreams.ping,
      onPing: (answered) => counter.add(answered ? "pings:pong" : "pings:lost"),
      onSilent(silentNode, why) {
        counter.add("nodes-silent:all");
        balancer.setSilent(silentNode, true);
        deps.log.warn("a node's proxy is silent; its pods are left out", { node: silentNode, why });
      },
      onLost: upstreams.abandon,
      onHeard(heardNode, afterMs) {
        balancer.setSilent(heardNode, false);
        deps.log.info("a node's proxy answers again", { node: heardNode, afterMs });
      },
      onForgotten: (gone) => balancer.setSilent(gone, false),
    },
    limits,
  );
  const ingressServer = createServer(serverLimits(limits));
  const connections = followConnections(ingressServer, { counter }, limits);
  const bodies = createBodies(deps, {
    bodyBytesMax: limits.bodyBytesMax,
    idleTimeoutMs: limits.bodyIdleTimeoutMs,
  });
  const turns = {
    clock: deps.clock,
    afterRead: (callback: () => void) => void setImmediate(callback),
  };
  const ingress = createIngress(
    {
      clock: deps.clock,
      admission: createAdmission(turns),
      balancer,
      budget: createRetryBudget(deps),
      nodeWatch,
      upstreams,
      bodies,
      connections,
      counter,
      latency,
      node,
    },
    limits,
  );
  ingressServer.on("request", ingress.handle);
  const mesh = createMesh({
    clock: deps.clock,
    admission: createAdmission(turns, { shedAfterMs: Infinity }),
    upstreams,
    counter,
    log: deps.log,
    trust: () => identity.trust,
    nowMs,
  });

  const setTable = (table: RouteTable) => {
    const own = table.backends
      .flatMap(({ endpoints }) => endpoints)
      .filter((endpoint) => endpoint.node === node)
      .map(addressOf);
    mesh.setTable(table);
    const { [node]: _ownMesh, ...meshByNode } = table.meshByNode;
    upstreams.retain({ local: new Set([...own, ...mesh.served()]), meshByNode });
    nodeWatch.retain(new Set(Object.keys(meshByNode)));
    ingress.setTable(table);
  };
  upstreams.setIdentity(identity);
  if (options.table) setTable(options.table);

  const servers: (Server | SecureServer)[] = [];
  const upgraded = new Set<{ destroy(): void }>();
  const open = async (
    server: Server | SecureServer,
    room: typeof ingress | typeof mesh,
    address: ListenAddress,
    what: string,
  ) => {
    // Beyond a number of headers Node drops the rest in silence: their size is the limit.
    server.maxHeadersCount = 0;
    server.on("upgrade", (request, socket, head) => {
      upgraded.add(socket);
      socket.once("close", () => upgraded.delete(socket));
      room.upgrade(request, socket, head);
    });
    const { port } = await listenOn(server, { ...address, what });
    server.on("error", (error) => deps.log.error(`${what} failed`, { error }));
    servers.push(server);
    return port;
  };

  const alsoByHost = new Map<string, SecondListener>();
  const setIngressAlso = async (hosts: readonly string[]) => {
    for (const [host, listener] of alsoByHost) {
      if (hosts.includes(host)) continue;
      alsoByHost.delete(host);
      listener.close();
    }
    for (const host of hosts) {
      if (alsoByHost.has(host) || ingressPort === undefined) continue;
      const at = { host, port: ingressPort, what: "the ingress" };
      alsoByHost.set(host, await listenAlso(ingressServer, at));
    }
  };
  let secure: SecureServer | undefined;
  let ingressPort: number | undefined;
  let meshPort: number | undefined;
  try {
    if (options.ingress) {
      ingressPort = await open(ingressServer, ingress, options.ingress, "the ingress");
    }
    if (options.mesh) {
      secure = createSecureServer(
        { ...serverLimits(limits), ...meshTls(identity), handshakeTimeout: 5_000 },
        mesh.handle,
      );
      secure.on("tlsClientError", (error, { remoteAddress: from }) => {
        counter.add("mesh-refused:handshake");
        deps.log.warn("mesh handshake failed", { from, error });
      });
      meshPort = await open(secure, mesh, options.mesh, "the mesh");
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }

  let told = "";
  const tell = () => {
    const now = {
      connections: connections.count,
      underWay: ingress.underWay,
      silentNodes: nodeWatch.silentCount,
      keptBytes: bodies.keptBytes,
    };
    const added = counter.take();
    const text = JSON.stringify(now);
    // An idle proxy has nothing to say.
    if (!added && text === told) return;
    told = text;
    deps.onCounts(added ?? {}, now, latency.take() ?? {});
  };
  const telling = every(deps.clock, countsIntervalMs, tell, (error) =>
    deps.log.error("counters failed", { error }),
  );

  return {
    ports: { ingressPort, meshPort },
    setTable,
    setIngressAlso,
    setIdentity(next) {
      identity = next;
      upstreams.setIdentity(next);
      secure?.setSecureContext(meshTls(next));
    },
    async stop({ graceMs }) {
      ingress.drain();
      mesh.drain();
      // A connection that others believe idle is not closed while they may be writing to it: what
      // comes on it now is told that this node stops, by `connection: close` or as not sent.
      await deps.clock.sleep(Math.min(graceMs, lingerMs));
      await setIngressAlso([]);
      const closed = servers.map(
        (server) => new Promise<void>((resolve) => server.close(() => resolve())),
      );
      const limit = deadline(deps.clock, graceMs);
      while (ingress.underWay + mesh.underWay > 0 && !limit.signal.aborted)
        await deps.clock.sleep(drainPollMs);
      limit.done();
      const left = ingress.underWay + mesh.underWay;
      if (left > 0) deps.log.warn("requests were cut off at the end of the grace", { left });
      for (const socket of upgraded) socket.destroy();
      for (const server of servers) server.closeAllConnections();
      await Promise.all(closed);
      nodeWatch.close();
      await upstreams.destroy();
      telling.cancel();
      tell();
    },
  };
}

function serverLimits(limits: ProxyLimits) {
  return {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: Math.min(5_000, limits.headersTimeoutMs),
    keepAliveTimeout: 65_000,
    maxHeaderSize: 16 * 1024,
    // A request that two parsers could read differently is refused, never repaired.
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
  };
}

function meshTls({ credentials, trust }: ProxyIdentity) {
  return serverTlsOptions({
    credentials,
    trusts: [trust],
    requestCert: true,
    alpn: ["http/1.1"],
  });
}

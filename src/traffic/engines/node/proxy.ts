/** The built-in engine: ingress and mesh listeners over shared upstream pools. Runs in its thread. */
import type { Server } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import { deadline, every, type Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import { listenOn } from "../../../runtime/listen/index.ts";
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
import { createCounter, type Counts } from "./counts.ts";
import { createIngress } from "./ingress.ts";
import { createMesh } from "./mesh.ts";
import { createUpstreams } from "./upstreams.ts";

export interface Proxy {
  readonly ports: ProxyPorts;
  setTable(table: RouteTable): void;
  setIdentity(identity: ProxyIdentity): void;
  stop(options: { readonly graceMs: number }): Promise<void>;
}

const countsIntervalMs = 1000;
const drainPollMs = 20;

/** Throws `port-in-use` or `cannot-listen`. */
export async function startProxy(
  deps: { clock: Clock; log: Log; onCounts: (counts: Counts) => void },
  options: ProxyStart,
): Promise<Proxy> {
  const { node, limits } = options;
  let identity = options.identity;
  const nowMs = () => deps.clock.wallMs() + identity.timeOffsetMs;
  const counter = createCounter();
  const upstreams = createUpstreams({ clock: deps.clock, nowMs }, limits);
  const balancer = createBalancer(deps, { node });
  const ingress = createIngress({ clock: deps.clock, balancer, upstreams, counter, node });
  const mesh = createMesh({
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
    upstreams.retain({
      local: new Set([...own, ...table.served]),
      meshByNode: table.meshByNode,
    });
    ingress.setTable(table);
    mesh.setTable(table);
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
    server.maxConnections = limits.connectionsMax;
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

  let secure: SecureServer | undefined;
  let ingressPort: number | undefined;
  let meshPort: number | undefined;
  try {
    if (options.ingress) {
      const server = createServer(serverLimits(limits), ingress.handle);
      ingressPort = await open(server, ingress, options.ingress, "the ingress");
    }
    if (options.mesh) {
      secure = createSecureServer(
        { ...serverLimits(limits), ...meshTls(identity), handshakeTimeout: 5_000 },
        mesh.handle,
      );
      secure.on("tlsClientError", (error) => {
        counter.add("mesh-refused");
        deps.log.warn("mesh handshake failed", { error });
      });
      meshPort = await open(secure, mesh, options.mesh, "the mesh");
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }

  const tell = () => {
    const counts = counter.take();
    if (counts) deps.onCounts(counts);
  };
  const telling = every(deps.clock, countsIntervalMs, tell, (error) =>
    deps.log.error("counters failed", { error }),
  );

  return {
    ports: { ingressPort, meshPort },
    setTable,
    setIdentity(next) {
      identity = next;
      upstreams.setIdentity(next);
      secure?.setSecureContext(meshTls(next));
    },
    async stop({ graceMs }) {
      ingress.drain();
      mesh.drain();
      const closed = servers.map(
        (server) => new Promise<void>((resolve) => server.close(() => resolve())),
      );
      for (const server of servers) server.closeIdleConnections();
      const limit = deadline(deps.clock, graceMs);
      while (ingress.underWay + mesh.underWay > 0 && !limit.signal.aborted)
        await deps.clock.sleep(drainPollMs);
      limit.done();
      const left = ingress.underWay + mesh.underWay;
      if (left > 0) deps.log.warn("requests were cut off at the end of the grace", { left });
      for (const socket of upgraded) socket.destroy();
      for (const server of servers) server.closeAllConnections();
      await Promise.all(closed);
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

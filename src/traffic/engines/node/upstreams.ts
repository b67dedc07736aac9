/**
 * Connections towards pods: plain HTTP to those of this node, mTLS to the mesh port of the others.
 * Pools are kept alive and shared; never one TLS connection per client connection.
 */
import type { TLSSocket } from "node:tls";
import type { Client as ClientTypes, Dispatcher } from "undici";
import type { Clock, Timer } from "../../../lib/clock.ts";
import { createTurns } from "../../../lib/turns.ts";
import { Client, Pool } from "../../../runtime/http-pool/index.ts";
import { endpointHeader, meshErrorHeader, pingEndpoint } from "../../headers.ts";
import { addressOf, type MeshAddress, type RouteEndpoint } from "../../routes/table.ts";
import { ConnectFailed } from "./failure.ts";
import { afterAwake, connectMesh, type MeshIdentity } from "./mesh-connect.ts";

export type UpstreamOptions = {
  readonly connectTimeoutMs: number;
  /** An application may take this long to begin its answer. */
  readonly responseTimeoutMs: number;
};

/**
 * `repeatable`: on any connection that is open; should the pod close it at that moment, the request
 * is sent again. `once`: on a new one or one used within the last second, which no pod closes.
 */
export type Reuse = "repeatable" | "once";

export interface Upstreams {
  /** To a pod on this node. */
  local(endpoint: Pick<RouteEndpoint, "ip" | "port">, reuse: Reuse): Dispatcher;
  /** To the mesh port of another node. Throws `ConnectFailed` when its address is not known. */
  remote(node: string): Dispatcher;
  /** Whether the proxy of a node answers within `limitMs` and takes requests. Never rejects. */
  ping(node: string, limitMs: number): Promise<boolean>;
  /** A node stays silent: its connections are not used again; requests on them may still end. */
  abandon(node: string): void;
  /** New connections use this; old ones end with the request they carry. */
  setIdentity(identity: MeshIdentity): void;
  /** Of the nodes other than this one connections are opened at once; pools not named are closed once idle. */
  retain(kept: {
    readonly local: ReadonlySet<string>;
    readonly meshByNode: Readonly<Record<string, MeshAddress>>;
  }): void;
  /** Ends every connection, requests on them included. */
  destroy(): Promise<void>;
}

const connectionsPerPool = 256;
/** Certificates change; a connection does not outlive its own by more than this. */
const meshConnectionAgeMs = 600_000;
const onceIdleMs = 1_000;
/** A ping must not wait for a handshake, nor behind slow requests: its connection is its own. */
const pingIdleMs = 60_000;
/**
 * Kept open to each node for requests, beside the pings' own. What comes first, or after a rest, would
 * wait for handshakes otherwise: on a small machine a burst of them takes seconds, makes the node look
 * silent, and what moves on from there ends with its connection, so that the next one begins anew.
 */
const warmConnections = 2;
/** Before either end closes one that rests; sooner where nobody answered. */
const warmEveryMs = 30_000;
const coldEveryMs = 2_000;
const warmLimitMs = 2_000;

/**
 * To one node at the same time. All at once they would all end late, on a small machine seconds late;
 * a few at a time, the first ones carry requests while the others wait.
 */
const handshakesMax = 4;

type Remote = {
  readonly pool: Pool;
  readonly pinger: Client;
  readonly address: MeshAddress;
  /** Ends what keeps its connections open. */
  rest(): void;
};

export function createUpstreams(
  deps: { clock: Clock; nowMs: () => number },
  options: UpstreamOptions,
): Upstreams {
  const localByAddress: Record<Reuse, Map<string, Pool>> = {
    repeatable: new Map(),
    once: new Map(),
  };
  const remoteByNode = new Map<string, Remote>();
  let meshByNode: Readonly<Record<string, MeshAddress>> = {};
  let identity: MeshIdentity | undefined;
  const common = {
    pipelining: 1,
    headersTimeout: options.responseTimeoutMs,
    bodyTimeout: 0,
  };

  const closeGently = (dispatcher: Dispatcher) => {
    // Rejects only when it was destroyed meanwhile, which is what it was meant to lead to.
    dispatcher.close().catch(() => {});
  };

  const openRemote = (node: string, address: MeshAddress): Remote => {
    const connect = async () => {
      if (!identity) throw new ConnectFailed("no identity yet", { blame: "node" });
      const { connectTimeoutMs } = options;
      return connectMesh(deps, { node, address, identity, connectTimeoutMs });
    };
    const turns = createTurns(handshakesMax);
    const origin = `https://${addressOf({ ip: address.host, port: address.port })}`;
    const connector =
      (open: () => Promise<TLSSocket>): ClientTypes.Options["connect"] =>
      (_options, callback) => {
        void (async () => {
          try {
            callback(null, await open());
          } catch (error) {
            callback(error instanceof Error ? error : new Error(String(error)), null);
          }
        })();
      };
    const pools = {
      pool: new Pool(origin, {
        ...common,
        connections: connectionsPerPool,
        clientTtl: meshConnectionAgeMs,
        connect: connector(() => turns.take(connect)),
      }),
      pinger: new Client(origin, {
        ...common,
        keepAliveTimeout: pingIdleMs,
        connect: connector(connect),
      }),
    };
    const remote = { ...pools, address, rest: keepWarm(pools) };
    remoteByNode.set(node, remote);
    return remote;
  };

  /** Returns what ends it. */
  const keepWarm = ({ pool, pinger }: Pick<Remote, "pool" | "pinger">): (() => void) => {
    const dispatchers = [pinger, ...Array.from({ length: warmConnections }, () => pool)];
    let timer: Timer | undefined;
    let isOver = false;
    const warm = async () => {
      const answers = await Promise.all(dispatchers.map((each) => pingBy(each, warmLimitMs)));
      if (isOver) return;
      const againMs = answers.includes(false) ? coldEveryMs : warmEveryMs;
      timer = deps.clock.after(againMs, () => void warm());
    };
    void warm();
    return () => {
      isOver = true;
      timer?.cancel();
    };
  };

  /** Never rejects. */
  const pingBy = (dispatcher: Dispatcher, limitMs: number): Promise<boolean> => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let controller: Dispatcher.DispatchController | undefined;
    let over = false;
    const conclude = (answered: boolean) => {
      over = true;
      timer.cancel();
      resolve(answered);
    };
    const timer = afterAwake(deps.clock, limitMs, () => {
      conclude(false);
      controller?.abort(new Error("no answer to a ping"));
    });
    const handler: Dispatcher.DispatchHandler = {
      // One whose time is over before it had a connection goes out nevertheless and is not heard:
      // an abort would cost the connection that the next one needs.
      onRequestStart(started) {
        if (!over) controller = started;
      },
      onResponseStart: (_controller, _status, headers) =>
        conclude(headers[meshErrorHeader] !== "stopping"),
      onResponseData: () => {},
      onResponseEnd: () => {},
      onResponseError: () => conclude(false),
    };
    const headers = [endpointHeader, pingEndpoint];
    dispatcher.dispatch({ method: "GET", path: "/", headers }, handler);
    return promise;
  };

  const remoteOf = (node: string): Remote => {
    const address = meshByNode[node];
    if (!address)
      throw new ConnectFailed(`no mesh address of node ${node} is known`, { blame: "node" });
    return remoteByNode.get(node) ?? openRemote(node, address);
  };

  const closeRemote = (node: string, { pool, pinger, rest }: Remote) => {
    remoteByNode.delete(node);
    rest();
    closeGently(pool);
    closeGently(pinger);
  };

  /** So that they are warm before anything is asked of them. */
  const openAll = () => {
    if (!identity) return;
    for (const [node, address] of Object.entries(meshByNode))
      if (!remoteByNode.has(node)) openRemote(node, address);
  };

  return {
    local(endpoint, reuse) {
      const address = addressOf(endpoint);
      const known = localByAddress[reuse].get(address);
      if (known) return known;
      const pool = new Pool(`http://${address}`, {
        ...common,
        connections: connectionsPerPool,
        connect: { timeout: options.connectTimeoutMs },
        // A pod's own `Keep-Alive: timeout` is honoured where it is shorter.
        ...(reuse === "once" && { keepAliveTimeout: onceIdleMs, keepAliveMaxTimeout: onceIdleMs }),
      });
      localByAddress[reuse].set(address, pool);
      return pool;
    },
    remote: (node) => remoteOf(node).pool,
    async ping(node, limitMs) {
      let remote: Remote;
      try {
        remote = remoteOf(node);
      } catch {
        // Nowhere to send it: that is an answer, too.
        return false;
      }
      return await pingBy(remote.pinger, limitMs);
    },
    abandon(node) {
      const remote = remoteByNode.get(node);
      if (remote) closeRemote(node, remote);
    },
    setIdentity(next) {
      identity = next;
      for (const [node, remote] of remoteByNode) closeRemote(node, remote);
      openAll();
    },
    retain(kept) {
      meshByNode = kept.meshByNode;
      for (const poolByAddress of Object.values(localByAddress))
        for (const [address, pool] of poolByAddress) {
          if (kept.local.has(address)) continue;
          poolByAddress.delete(address);
          closeGently(pool);
        }
      for (const [node, remote] of remoteByNode) {
        const next = meshByNode[node];
        if (next?.host === remote.address.host && next.port === remote.address.port) continue;
        closeRemote(node, remote);
      }
      openAll();
    },
    async destroy() {
      for (const { rest } of remoteByNode.values()) rest();
      const dispatchers: Dispatcher[] = [
        ...localByAddress.repeatable.values(),
        ...localByAddress.once.values(),
        ...[...remoteByNode.values()].flatMap(({ pool, pinger }) => [pool, pinger]),
      ];
      localByAddress.repeatable.clear();
      localByAddress.once.clear();
      remoteByNode.clear();
      await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
    },
  };
}

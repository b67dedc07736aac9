/**
 * Connections towards pods: plain HTTP to those of this node, mTLS to the mesh port of the others.
 * Pools are kept alive and shared; never one TLS connection per client connection.
 */
import { connect as connectTcp } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { Pool, type Dispatcher } from "undici";
import type { Clock } from "../../../lib/clock.ts";
import {
  clientTlsOptions,
  verifyPeer,
  type Credentials,
  type Trust,
} from "../../../transport/index.ts";
import { addressOf, type MeshAddress, type RouteEndpoint } from "../../routes/table.ts";
import { ConnectFailed } from "./failure.ts";

export type MeshIdentity = { readonly credentials: Credentials; readonly trust: Trust };

export type UpstreamOptions = {
  readonly connectTimeoutMs: number;
  /** An application may take this long to begin its answer. */
  readonly responseTimeoutMs: number;
};

export interface Upstreams {
  /** To a pod on this node. */
  local(endpoint: Pick<RouteEndpoint, "ip" | "port">): Dispatcher;
  /** To the mesh port of another node. Throws `ConnectFailed` when its address is not known. */
  remote(node: string): Dispatcher;
  /** Whether the machine of a node still takes connections on its mesh port. */
  probe(node: string): Promise<boolean>;
  /** New connections use this; old ones end with the request they carry. */
  setIdentity(identity: MeshIdentity): void;
  /** Pools of pods and nodes not named are closed once idle. */
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
const handshakeTimeoutMs = 2_000;
/** Any name: peers are judged by their SPIFFE id, but TLS wants one. */
const meshServerName = "mesh.skerry";

type Remote = { readonly pool: Pool; readonly address: MeshAddress };

export function createUpstreams(
  deps: { clock: Clock; nowMs: () => number },
  options: UpstreamOptions,
): Upstreams {
  const localByAddress = new Map<string, Pool>();
  const remoteByNode = new Map<string, Remote>();
  let meshByNode: Readonly<Record<string, MeshAddress>> = {};
  let identity: MeshIdentity | undefined;
  const common = {
    connections: connectionsPerPool,
    pipelining: 1,
    headersTimeout: options.responseTimeoutMs,
    bodyTimeout: 0,
  };

  const closeGently = (pool: Pool) => {
    // Rejects only when the pool was destroyed meanwhile, which is what it was meant to lead to.
    pool.close().catch(() => {});
  };

  const connectMesh = (node: string, address: MeshAddress): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      if (!identity) return reject(new ConnectFailed("no identity yet", { blame: "node" }));
      const { credentials, trust } = identity;
      const socket = connectTls({
        ...clientTlsOptions({ credentials, trusts: [trust], alpn: ["http/1.1"] }),
        ...address,
        servername: meshServerName,
      });
      const where = `the mesh of ${node} at ${addressOf({ ip: address.host, port: address.port })}`;
      const fail = (message: string, cause?: unknown) => {
        timer.cancel();
        socket.destroy();
        reject(new ConnectFailed(`${where} ${message}`, { blame: "node", cause }));
      };
      let timer = deps.clock.after(options.connectTimeoutMs, () => fail("does not answer"));
      socket.setNoDelay(true);
      socket.once("connect", () => {
        timer.cancel();
        timer = deps.clock.after(handshakeTimeoutMs, () => fail("does not end its handshake"));
      });
      const onError = (cause: Error) => fail("cannot be reached", cause);
      const onClose = () => fail("closed the connection");
      socket.once("error", onError);
      socket.once("close", onClose);
      socket.once("secureConnect", () => {
        const verdict = verifyPeer(socket, [trust], deps.nowMs());
        if (!verdict.ok) return fail(`is not to be trusted: ${verdict.message}`);
        const { id, path } = verdict.subject;
        if (path[0] !== "node" || path[1] !== node) return fail(`says that it is ${id}`);
        timer.cancel();
        socket.removeListener("error", onError);
        socket.removeListener("close", onClose);
        resolve(socket);
      });
    });

  const openRemote = (node: string, address: MeshAddress): Remote => {
    const pool = new Pool(`https://${addressOf({ ip: address.host, port: address.port })}`, {
      ...common,
      clientTtl: meshConnectionAgeMs,
      connect: (_options, callback) => {
        void (async () => {
          try {
            callback(null, await connectMesh(node, address));
          } catch (error) {
            callback(error instanceof Error ? error : new Error(String(error)), null);
          }
        })();
      },
    });
    const remote = { pool, address };
    remoteByNode.set(node, remote);
    return remote;
  };

  return {
    local(endpoint) {
      const address = addressOf(endpoint);
      const known = localByAddress.get(address);
      if (known) return known;
      const pool = new Pool(`http://${address}`, {
        ...common,
        connect: { timeout: options.connectTimeoutMs },
      });
      localByAddress.set(address, pool);
      return pool;
    },
    remote(node) {
      const address = meshByNode[node];
      if (!address)
        throw new ConnectFailed(`no mesh address of node ${node} is known`, { blame: "node" });
      return (remoteByNode.get(node) ?? openRemote(node, address)).pool;
    },
    probe(node) {
      const address = meshByNode[node];
      if (!address) return Promise.resolve(false);
      return new Promise((resolve) => {
        const socket = connectTcp(address);
        const done = (answers: boolean) => {
          timer.cancel();
          socket.destroy();
          resolve(answers);
        };
        const timer = deps.clock.after(options.connectTimeoutMs, () => done(false));
        socket.once("connect", () => done(true));
        socket.once("error", () => done(false));
      });
    },
    setIdentity(next) {
      identity = next;
      for (const { pool } of remoteByNode.values()) closeGently(pool);
      remoteByNode.clear();
    },
    retain(kept) {
      meshByNode = kept.meshByNode;
      for (const [address, pool] of localByAddress) {
        if (kept.local.has(address)) continue;
        localByAddress.delete(address);
        closeGently(pool);
      }
      for (const [node, { pool, address }] of remoteByNode) {
        const next = meshByNode[node];
        if (next?.host === address.host && next.port === address.port) continue;
        remoteByNode.delete(node);
        closeGently(pool);
      }
    },
    async destroy() {
      const pools = [
        ...localByAddress.values(),
        ...[...remoteByNode.values()].map(({ pool }) => pool),
      ];
      localByAddress.clear();
      remoteByNode.clear();
      await Promise.all(pools.map((pool) => pool.destroy()));
    },
  };
}

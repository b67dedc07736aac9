/**
 * Connections to the cell's servers: one pool for each, made anew when the credentials changed. The
 * server is known by its name in the certificate, never by its address.
 */
import type { TLSSocket } from "node:tls";
import type { buildConnector as Connector } from "undici";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { buildConnector, Pool } from "../../runtime/http-pool/index.ts";

export type RemoteServer = { readonly host: string; readonly port: number };

/** PEM. The leaf first, then its intermediates; anchors are whom to believe. */
export type RemoteCredentials = {
  readonly keyPem: string;
  readonly chainPem: string;
  readonly anchorsPem: readonly string[];
};

/**
 * Whether the certificate at the other end is that of one of our servers, judged at the cell's time;
 * bound to identity's `verifyServer` by the agent. Asked once a connection, before a byte is sent.
 */
export type JudgeServer = (
  socket: TLSSocket,
) => { readonly ok: true } | { readonly ok: false; readonly message: string };

export interface Connections {
  poolOf(server: RemoteServer): Pool;
  /** Ends all connections to it, those that are being made too; the next request makes a new one. */
  drop(server: RemoteServer): void;
  close(): Promise<void>;
}

/** Watches hold one each. */
const connectionsMax = 128;

export function createConnections(options: {
  readonly credentials: () => RemoteCredentials;
  /** `api.CELL.skerry` */
  readonly servername: string;
  readonly connectTimeoutMs: number;
  readonly judgeServer: JudgeServer;
}): Connections {
  const poolsByServer = new Map<string, { pool: Pool; credentials: RemoteCredentials }>();
  const closing = new Set<Promise<void>>();

  const retire = (pool: Pool) => {
    // Requests in flight end by themselves; a watch ends with the age that the server gives it.
    const closed = pool.close().finally(() => closing.delete(closed));
    closing.add(closed);
  };

  const connectorOf = (credentials: RemoteCredentials): Connector.connector => {
    const connect = buildConnector({
      key: credentials.keyPem,
      cert: credentials.chainPem,
      ca: [...credentials.anchorsPem],
      servername: options.servername,
      timeout: options.connectTimeoutMs,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["http/1.1"],
      allowH2: false,
      // A resumed session would not look at the server's certificate again.
      maxCachedSessions: 0,
      // Node judges by the host's clock and hides a wrong signature behind a time error.
      rejectUnauthorized: false,
    });
    return (asked, callback) =>
      connect(asked, (...[error, socket]) => {
        if (error) return callback(error, null);
        const verdict = options.judgeServer(socket as TLSSocket);
        if (verdict.ok) return callback(null, socket);
        socket.destroy();
        return callback(untrusted(asked.host ?? asked.hostname, verdict.message), null);
      });
  };

  return {
    poolOf(server) {
      const name = `${server.host}:${server.port}`;
      const credentials = options.credentials();
      const known = poolsByServer.get(name);
      if (known && sameCredentials(known.credentials, credentials)) return known.pool;
      if (known) retire(known.pool);
      const host = server.host.includes(":") ? `[${server.host}]` : server.host;
      const pool = new Pool(`https://${host}:${server.port}`, {
        connections: connectionsMax,
        pipelining: 1,
        allowH2: false,
        keepAliveTimeout: 30_000,
        headersTimeout: 0,
        connect: connectorOf(credentials),
      });
      poolsByServer.set(name, { pool, credentials });
      return pool;
    },
    drop({ host, port }) {
      const name = `${host}:${port}`;
      const known = poolsByServer.get(name);
      if (!known) return;
      poolsByServer.delete(name);
      const gone = known.pool.destroy().finally(() => closing.delete(gone));
      closing.add(gone);
    },
    async close() {
      const pools = [...poolsByServer.values()].map(({ pool }) => pool.destroy());
      poolsByServer.clear();
      await Promise.all([...pools, ...closing]);
    },
  };
}

function sameCredentials(a: RemoteCredentials, b: RemoteCredentials): boolean {
  return (
    a === b ||
    (a.keyPem === b.keyPem &&
      a.chainPem === b.chainPem &&
      a.anchorsPem.join("") === b.anchorsPem.join(""))
  );
}

/**
 * Whether a failure proves that the request was never sent: the connection did not come to stand, or
 * we refused the server's certificate. Everything else may have reached the server.
 */
export function neverSent(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(neverSent);
  const code = systemCode(error);
  if (code === "UND_ERR_CONNECT_TIMEOUT" || code === "server-untrusted") return true;
  const syscall = error instanceof Error && "syscall" in error ? error.syscall : undefined;
  return syscall === "connect" || syscall === "getaddrinfo";
}

function untrusted(server: string, reason: string): SkerryError {
  return new SkerryError({
    code: "server-untrusted",
    message: `${server} is no server of this cell: ${reason}`,
    hint: "nothing was sent to it; check the address, and this node's identity with `skerry doctor`",
  });
}

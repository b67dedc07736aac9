/**
 * The API's port on a node that is no server: a TCP connection is passed on untouched, so that the
 * server itself judges the client's certificate and this node can speak for nobody. With no server
 * reachable the connection is served from what this node knows.
 */
import { connect, createServer, type Socket } from "node:net";
import { every, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { listenAlso, type SecondListener } from "../runtime/listen/index.ts";
import { listen, type ApiServer } from "./server.ts";

export type ServerAddress = { readonly host: string; readonly port: number };

export type ForwarderOptions = {
  /** The servers that may be alive, best first. A connection ends when its server leaves the list. */
  readonly servers: () => readonly ServerAddress[];
  /** How long one server may take to accept. */
  readonly dialTimeoutMs?: number;
  readonly connectionsMax?: number;
};

export interface Forwarder {
  readonly host: string;
  readonly port: number;
  /** At another address of this machine as well. Throws `port-in-use` or `cannot-listen`. */
  alsoAt(host: string): Promise<SecondListener>;
  /** Connections passed on right now. */
  readonly connections: number;
  /** Stops accepting and ends what is passed on. Idempotent. */
  close(): Promise<void>;
}

const defaults = { dialTimeoutMs: 1500, connectionsMax: 1000 };
/** A server that did not answer is tried after the others for this long. */
const avoidMs = 5000;
const watchPeriodMs = 500;

/** Throws `api-listen-failed`. */
export async function listenForwarder(
  deps: { clock: Clock; log: Log; local: Pick<ApiServer, "standIn"> },
  at: { host: string; port: number },
  options: ForwarderOptions,
): Promise<Forwarder> {
  const { clock, log } = deps;
  const dialTimeoutMs = options.dialTimeoutMs ?? defaults.dialTimeoutMs;
  const failedMsByServer = new Map<string, number>();
  /** Both ends of each connection passed on, by its server. */
  const passed = new Map<Socket, { upstream: Socket; server: string }>();
  const waiting = new Set<Socket>();

  const inOrder = () => {
    const avoided = (server: ServerAddress) => {
      const failedMs = failedMsByServer.get(nameOf(server));
      return failedMs !== undefined && clock.monotonicMs() - failedMs < avoidMs ? 1 : 0;
    };
    return options.servers().toSorted((a, b) => avoided(a) - avoided(b));
  };

  const pass = async (client: Socket) => {
    waiting.add(client);
    client.on("error", (error) => log.debug("client connection failed", { error }));
    client.on("close", () => waiting.delete(client));
    for (const server of inOrder()) {
      if (client.destroyed) return;
      const upstream = await dial(clock, server, dialTimeoutMs).catch((error: unknown) => {
        log.debug("server did not accept", { server: nameOf(server), error });
        failedMsByServer.set(nameOf(server), clock.monotonicMs());
        return undefined;
      });
      if (!upstream) continue;
      failedMsByServer.delete(nameOf(server));
      waiting.delete(client);
      join(client, upstream, nameOf(server));
      return;
    }
    waiting.delete(client);
    if (!client.destroyed) deps.local.standIn(client);
  };

  const join = (client: Socket, upstream: Socket, server: string) => {
    if (client.destroyed) return void upstream.destroy();
    passed.set(client, { upstream, server });
    upstream.on("error", (error) => log.debug("server connection failed", { server, error }));
    // A half that ended is passed on by pipe; a half that broke takes the other with it.
    client.on("close", () => {
      passed.delete(client);
      upstream.destroy();
    });
    upstream.on("close", () => client.destroySoon());
    client.pipe(upstream);
    upstream.pipe(client);
  };

  const server = createServer(
    { pauseOnConnect: true, allowHalfOpen: true, noDelay: true },
    (socket) => {
      pass(socket).catch((error: unknown) => {
        log.error("connection could not be passed on", { error });
        socket.destroy();
      });
    },
  );
  server.maxConnections = options.connectionsMax ?? defaults.connectionsMax;
  const bound = await listen(server, at);

  const watch = every(
    clock,
    watchPeriodMs,
    () => {
      const alive = new Set(options.servers().map(nameOf));
      // A machine that lost its power sends no reset: whoever watches through it must be told.
      for (const [client, { server: name }] of passed) if (!alive.has(name)) client.destroy();
    },
    (error) => log.error("servers could not be listed", { error }),
  );

  let closed: Promise<void> | undefined;
  return {
    ...bound,
    alsoAt: (host) => listenAlso(server, { host, port: bound.port, what: "the cell API" }),
    get connections() {
      return passed.size;
    },
    close() {
      closed ??= new Promise<void>((resolve) => {
        watch.cancel();
        server.close(() => resolve());
        for (const client of [...passed.keys(), ...waiting]) client.destroy();
      });
      return closed;
    },
  };
}

const nameOf = ({ host, port }: ServerAddress) => `${host}:${port}`;

function dial(clock: Clock, server: ServerAddress, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...server, noDelay: true, allowHalfOpen: true });
    const timer = clock.after(timeoutMs, () =>
      socket.destroy(
        new SkerryError({
          code: "server-lost",
          message: `${nameOf(server)} did not accept within ${timeoutMs} ms`,
          retryable: true,
        }),
      ),
    );
    const onError = (error: Error) => {
      timer.cancel();
      reject(error);
    };
    socket.once("error", onError);
    socket.once("connect", () => {
      timer.cancel();
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

/** Opens a listener, or says in words why not. */
import { createSocket } from "node:dgram";
import {
  createServer,
  isIPv6,
  type AddressInfo,
  type Server,
  type ServerOpts,
  type Socket,
} from "node:net";
import { explain, SkerryError, systemCode } from "../../lib/errors.ts";

export { addressesHere, isAddressHere } from "./here.ts";

/** Resolves once `server` listens, with the port it got. Throws `port-in-use` or `cannot-listen`. */
export function listenOn(
  server: Server,
  options: { readonly host: string; readonly port: number; readonly what: string },
): Promise<{ readonly port: number }> {
  const { host, port, what } = options;
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => reject(cannotListen({ host, port, what }, cause));
    server.once("error", onError);
    server.listen({ host, port }, () => {
      server.removeListener("error", onError);
      resolve({ port: (server.address() as AddressInfo).port });
    });
  });
}

export type SecondListener = {
  /** Takes no more, and ends the connections that came this way. */
  close(): void;
};

/**
 * A second place at which a server takes connections, as if they had come to its own; a node's server
 * listens at one place only. Throws `port-in-use` or `cannot-listen`.
 */
export async function listenAlso(
  target: Server,
  options: { readonly host: string; readonly port: number; readonly what: string },
): Promise<SecondListener> {
  const open = new Set<Socket>();
  // As the server was made: its listeners count on it.
  const { allowHalfOpen = false, pauseOnConnect = false } = target as Partial<ServerOpts>;
  const sockets = { allowHalfOpen, pauseOnConnect, noDelay: true };
  const listener = createServer(sockets, (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    target.emit("connection", socket);
  });
  await listenOn(listener, options);
  return {
    close() {
      listener.close();
      for (const socket of open) socket.destroy();
    },
  };
}

function cannotListen(
  { host, port, what }: { host: string; port: number; what: string },
  cause: Error,
): SkerryError {
  return new SkerryError(
    systemCode(cause) === "EADDRINUSE"
      ? {
          code: "port-in-use",
          message: `${what}: another process listens on ${host}:${port}`,
          hint: "stop it, choose another port, or 0 for any free one",
          cause,
        }
      : {
          code: "cannot-listen",
          message: `${what}: cannot listen on ${host}:${port}`,
          hint: "is it an address of this machine, and a port this user may open?",
          cause,
        },
  );
}

export type Place = {
  readonly host: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  readonly what: string;
};

/** Why nothing could listen there now, in words; undefined when something could. Leaves nothing open. */
export async function whyNotListen(place: Place): Promise<string | undefined> {
  try {
    await (place.protocol === "tcp" ? tryTcp(place) : tryUdp(place));
    return undefined;
  } catch (error) {
    return explain(error);
  }
}

/** One that was free a moment ago. Throws `cannot-listen`. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  const { port } = await listenOn(server, { host, port: 0, what: "a free port" });
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

async function tryTcp(place: Place): Promise<void> {
  const server = createServer();
  await listenOn(server, place);
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

async function tryUdp({ host, port, what }: Place): Promise<void> {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (cause) => reject(cannotListen({ host, port, what }, cause)));
      socket.bind({ address: host, port, exclusive: true }, resolve);
    });
  } finally {
    socket.close();
  }
}

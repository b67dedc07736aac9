/** The keeper's side of the socket: one connection a client, requests answered as they end. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { encodeError, SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import {
  lineReader,
  protocolVersion,
  type ClientRole,
  type Events,
  type Hello,
  type MethodName,
  type Methods,
  type Reply,
  type Request,
} from "./protocol.ts";

export type Caller = { readonly role: ClientRole; readonly pid: number };

export type Handlers = {
  readonly [Name in Exclude<MethodName, "hello">]: (
    params: Methods[Name][0],
    caller: Caller,
  ) => Methods[Name][1] | Promise<Methods[Name][1]>;
};

/** A client that reads nothing is cut off rather than remembered without end. */
const unreadBytesMax = 8 * 1024 * 1024;

export interface KeeperServer {
  emit<Name extends keyof Events>(name: Name, data: Events[Name]): void;
  close(): Promise<void>;
}

/** Listens; whoever holds the lock owns the path, so a socket left behind is removed first. */
export async function startKeeperServer(
  deps: { log: Log; hello: Hello; handlers: Handlers },
  options: { socketPath: string },
): Promise<KeeperServer> {
  const { log, handlers } = deps;
  const sockets = new Set<Socket>();
  rmSync(options.socketPath, { force: true });
  const server = createServer((socket) => {
    sockets.add(socket);
    let caller: Caller | undefined;
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    const reply = (message: Reply) => write(socket, message);
    const answer = async (request: Request): Promise<unknown> => {
      if (request.method === "hello") {
        caller = greet(request.params);
        return deps.hello;
      }
      if (!caller) {
        throw new SkerryError({ code: "keeper-protocol", message: "the first request is hello" });
      }
      const handler = Object.hasOwn(handlers, request.method)
        ? (handlers[request.method as keyof Handlers] as (
            params: unknown,
            caller: Caller,
          ) => unknown)
        : undefined;
      if (!handler) {
        throw new SkerryError({
          code: "keeper-protocol",
          message: `this keeper does not know "${request.method}"`,
          hint: "restart the keeper to bring it to the agent's version; pods go on meanwhile",
        });
      }
      return handler(request.params ?? {}, caller);
    };
    socket.on(
      "data",
      lineReader(
        (line) => {
          const request = parse(line);
          if (!request) return socket.destroy();
          answer(request).then(
            (result) => reply({ id: request.id, result: result ?? {} }),
            (error: unknown) => reply({ id: request.id, error: encodeError(error) }),
          );
        },
        () => {
          log.warn("a line on the keeper's socket was too long");
          socket.destroy();
        },
      ),
    );
  });
  await listen(server, options.socketPath);
  chmodSync(options.socketPath, 0o600);

  return {
    emit(name, data) {
      for (const socket of sockets) write(socket, { event: name, data });
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.end();
      await closed;
    },
  };
}

function write(socket: Socket, message: unknown): void {
  if (socket.writableLength > unreadBytesMax) socket.destroy();
  else if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

function greet(params: unknown): Caller {
  const { protocol, role, pid } = (params ?? {}) as Partial<Methods["hello"][0]>;
  if (protocol !== protocolVersion) {
    throw new SkerryError({
      code: "keeper-protocol",
      message: `this keeper speaks protocol ${protocolVersion}, not ${String(protocol)}`,
      hint: "restart the keeper to bring it to the agent's version; pods go on meanwhile",
    });
  }
  return { role: role === "agent" ? "agent" : "tool", pid: Number(pid) };
}

function parse(line: string): Request | undefined {
  try {
    const value = JSON.parse(line) as Partial<Request> | null;
    return typeof value?.id === "number" && typeof value.method === "string"
      ? (value as Request)
      : undefined;
  } catch {
    // Not our protocol: the caller ends the connection.
    return undefined;
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

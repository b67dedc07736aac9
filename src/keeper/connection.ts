/** One connection to a keeper: requests with ids, events, and an end that rejects whoever waits. */
import { connect } from "node:net";
import { decodeError, SkerryError, type EncodedError } from "../lib/errors.ts";
import {
  lineReader,
  protocolVersion,
  type ClientRole,
  type Hello,
  type MethodName,
  type Methods,
} from "./protocol.ts";

export interface Connection {
  readonly hello: Hello;
  request<Name extends MethodName>(
    method: Name,
    params: Methods[Name][0],
  ): Promise<Methods[Name][1]>;
  /** Resolves when it is over, whoever ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

export type OnEvent = (name: string, data: unknown) => void;

/** Throws the socket's own error when nobody listens, `keeper-protocol` when versions differ. */
export async function dialKeeper(
  socketPath: string,
  options: { role: ClientRole; onEvent: OnEvent },
): Promise<Connection> {
  const socket = connect(socketPath);
  const closed = Promise.withResolvers<void>();
  const waitingById = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void }
  >();
  let nextId = 1;
  let failure: Error | undefined;
  socket.on("error", (error) => {
    failure = error;
  });
  socket.on("close", () => {
    const error = lost(failure);
    for (const { reject } of waitingById.values()) reject(error);
    waitingById.clear();
    closed.resolve();
  });
  socket.on(
    "data",
    lineReader(
      (line) => {
        const message = parse(line);
        if (!message) return void socket.destroy(new Error("the keeper said what is not JSON"));
        if (typeof message.event === "string") return options.onEvent(message.event, message.data);
        const waiting = waitingById.get(Number(message.id));
        waitingById.delete(Number(message.id));
        if (message.error) waiting?.reject(decodeError(message.error));
        else waiting?.resolve(message.result as never);
      },
      () => socket.destroy(new Error("a line from the keeper was too long")),
    ),
  );
  const request: Connection["request"] = (method, params) => {
    if (socket.destroyed || !socket.writable) return Promise.reject(lost(failure));
    const id = nextId++;
    return new Promise((resolve, reject) => {
      waitingById.set(id, { resolve, reject });
      socket.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  };

  await new Promise<void>((resolve, reject) => {
    socket.once("connect", () => resolve());
    socket.once("error", reject);
  });
  try {
    const hello = await request("hello", {
      protocol: protocolVersion,
      role: options.role,
      pid: process.pid,
    });
    return { hello, request, closed: closed.promise, close: () => void socket.destroy() };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

type Incoming = {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: EncodedError;
  readonly event?: unknown;
  readonly data?: unknown;
};

function parse(line: string): Incoming | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Incoming) : undefined;
  } catch {
    // The caller ends the connection.
    return undefined;
  }
}

export function lost(cause: unknown): SkerryError {
  return new SkerryError({
    code: "keeper-lost",
    message: "the keeper does not answer on its socket",
    hint: "pods go on; an agent starts a new keeper by itself, `skerry up` does as well",
    retryable: true,
    cause,
  });
}

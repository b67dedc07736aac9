/** An HTTP app that listens nowhere: it is handed connections that somebody else accepted. */
import { createServer } from "node:http";
import type { Duplex } from "node:stream";
import { createHttpApp, type HttpApp, type HttpAppOptions } from "./app.ts";

export type EmbeddedHttpApp = {
  readonly app: HttpApp;
  /** Speaks HTTP/1.1 on the connection from now on. */
  accept(connection: Duplex): void;
};

export function createEmbeddedHttpApp(options: HttpAppOptions = {}): EmbeddedHttpApp {
  let accept: (connection: Duplex) => void = () => undefined;
  const app = createHttpApp({
    ...options,
    serverFactory: (handler) => {
      const server = createServer(
        { headersTimeout: 15_000, requestTimeout: 60_000, keepAliveTimeout: 72_000 },
        handler,
      );
      accept = (connection) => void server.emit("connection", connection);
      return server;
    },
  });
  return { app, accept: (connection) => accept(connection) };
}

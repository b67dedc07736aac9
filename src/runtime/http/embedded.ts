/** An HTTP app that listens nowhere: it is handed connections that somebody else accepted. */
import type { Duplex } from "node:stream";
import { createHttpApp, type HttpApp, type HttpAppOptions } from "./app.ts";
import { createBoundedHttpServer, httpServerLimits, type HttpRefusal } from "./server.ts";

export type EmbeddedHttpApp = {
  readonly app: HttpApp;
  /** Speaks HTTP/1.1 on the connection from now on. */
  accept(connection: Duplex): void;
};

export function createEmbeddedHttpApp(
  options: HttpAppOptions & { onRefused?: (reason: HttpRefusal) => void } = {},
): EmbeddedHttpApp {
  let accept: (connection: Duplex) => void = () => undefined;
  const app = createHttpApp({
    ...options,
    serverFactory: (handler) => {
      const { server } = createBoundedHttpServer(handler, httpServerLimits, (reason) =>
        options.onRefused?.(reason),
      );
      accept = (connection) => void server.emit("connection", connection);
      return server;
    },
  });
  return { app, accept: (connection) => accept(connection) };
}

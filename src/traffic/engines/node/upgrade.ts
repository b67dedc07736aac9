/** Connections that change their protocol (WebSocket, RFC 6455): after the switch, only bytes. */
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";
import { responseHeaders } from "../../headers.ts";
import type { Sent } from "./attempts.ts";

/** Asks an upstream to change protocols; `accepted` rejects when it does not, or on `abort`. */
export function startUpgrade(
  dispatcher: Dispatcher,
  request: Dispatcher.UpgradeOptions,
): Sent<Dispatcher.UpgradeData> {
  const controller = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<Dispatcher.UpgradeData>();
  let switched: Duplex | undefined;
  const run = async () => {
    try {
      const answer = await dispatcher.upgrade({ ...request, signal: controller.signal });
      switched = answer.socket;
      if (controller.signal.aborted) switched.destroy();
      resolve(answer);
    } catch (error) {
      reject(error);
    }
  };
  void run();
  return {
    accepted: promise,
    // undici does not say when it writes.
    started: () => true,
    abort(reason) {
      controller.abort(reason);
      switched?.destroy();
      // undici does not hear an abort before it has a connection.
      reject(reason);
    },
  };
}

/** Tells the client that its protocol was accepted, with the application's own headers. */
export function writeSwitch(
  socket: Duplex,
  protocol: string,
  headers: Record<string, string | string[] | undefined>,
): void {
  const lines = Object.entries(responseHeaders(headers)).flatMap(([name, value]) =>
    [value].flat().map((each) => `${name}: ${each}\r\n`),
  );
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${protocol}\r\n${lines.join("")}\r\n`,
  );
}

/** Passes bytes both ways; resolves when both ends are closed. */
export function joinSockets(left: Duplex, right: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let open = 2;
    const closed = () => {
      left.destroy();
      right.destroy();
      if (--open === 0) resolve();
    };
    for (const socket of [left, right]) {
      // A reset of one side is the end of both; who caused it is not ours to say.
      socket.on("error", () => {});
      if (socket.destroyed) closed();
      else socket.once("close", closed);
    }
    left.pipe(right);
    right.pipe(left);
  });
}

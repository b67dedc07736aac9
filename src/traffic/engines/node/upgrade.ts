/** Connections that change their protocol (WebSocket, RFC 6455): after the switch, only bytes. */
import type { Duplex } from "node:stream";
import { responseHeaders } from "../../headers.ts";

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

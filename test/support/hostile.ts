/** What hostile clients do: raw bytes over raw sockets, damaged from a seed. */
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Random } from "../../src/lib/random.ts";

/** SEED=… in the environment replays a failure; every failure prints its own. */
export const hostileSeed = Number(process.env["SEED"] ?? 20_261_121);

/** A raw connection that survives whatever the other side does. */
export function rawSocket(
  t: TestContext,
  port: number,
): Socket & { readonly received: () => string } {
  const socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  return Object.assign(socket, { received: () => Buffer.concat(chunks).toString("latin1") });
}

export const closed = (socket: Socket) =>
  socket.closed
    ? Promise.resolve()
    : new Promise<void>((resolve) => socket.once("close", () => resolve()));

/** Ends a connection with a good beginning and a choice of good packets, damaged somewhere. */
export function sendDamaged(
  t: TestContext,
  port: number,
  { first, good, random }: { first: Buffer; good: readonly Buffer[]; random: Random },
): Socket {
  const socket = rawSocket(t, port);
  const rest = Buffer.concat(good.filter(() => random.integer(3) > 0));
  socket.end(
    random.integer(3) === 0
      ? damage(random, Buffer.concat([first, rest]))
      : Buffer.concat([first, damage(random, rest)]),
  );
  return socket;
}

/** Flips, cuts, doubles or inserts bytes in what was good. */
export function damage(random: Random, good: Buffer): Buffer {
  let bytes = Buffer.from(good);
  for (let steps = 1 + random.integer(4); steps > 0; steps--) {
    const at = random.integer(Math.max(1, bytes.length));
    switch (random.integer(4)) {
      case 0:
        if (bytes.length > 0) bytes[at] = random.integer(256);
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          random.bytes(random.integer(40)),
          bytes.subarray(at),
        ]);
        break;
      case 3:
        bytes = Buffer.concat([bytes, bytes.subarray(at)]);
    }
  }
  return bytes;
}

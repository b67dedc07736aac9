/** A socket whose incoming packets are measured before the broker sees them. */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { SkerryError } from "../../lib/errors.ts";
import { createFrameMeter } from "./frames.ts";

/**
 * What a slow subscriber may leave unread; beyond half of it messages to it are dropped (see
 * `broker.ts`), so that a writer to the broker never waits for a reader.
 */
export const unreadBytesMax = 1024 * 1024;

/** Destroys itself with `message-too-large` or `invalid-packet` when a packet may not pass. */
export function guardSocket(socket: Socket, options: { packetBytesMax: number }): Duplex {
  const meter = createFrameMeter(options);
  const guarded = new Duplex({
    writableHighWaterMark: unreadBytesMax,
    read() {
      socket.resume();
    },
    write(chunk: Uint8Array, _encoding, done) {
      socket.write(chunk, done);
    },
    writev(chunks, done) {
      socket.cork();
      for (const { chunk } of chunks.slice(0, -1)) socket.write(chunk);
      socket.write(chunks.at(-1)?.chunk ?? "", done);
      socket.uncork();
    },
    final(done) {
      socket.end(done);
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Buffer) => {
    if (guarded.destroyed) return;
    const verdict = meter.accept(chunk);
    if (!verdict.ok) {
      guarded.destroy(
        verdict.reason === "too-large"
          ? new SkerryError({
              code: "message-too-large",
              message: `an MQTT packet of ${verdict.bytes} bytes; at most ${options.packetBytesMax} are taken`,
            })
          : new SkerryError({
              code: "invalid-packet",
              message: "the length of an MQTT packet takes more than four bytes",
            }),
      );
      return;
    }
    if (!guarded.push(chunk)) socket.pause();
  });
  socket.on("end", () => guarded.push(null));
  socket.on("error", (error) => guarded.destroy(error));
  socket.on("close", () => guarded.destroy());
  // Until the broker listens, and after it stopped to.
  guarded.on("error", () => {});
  return guarded;
}

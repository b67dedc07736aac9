/** Enrolment's wire: messages of a u32 length and so many bytes, read whole within a limit. */
import type { Duplex } from "node:stream";
import { SkerryError } from "../../lib/errors.ts";

export const requestBytesMax = 64 * 1024;
export const answerBytesMax = 256 * 1024;

export function writeMessage(socket: Duplex, message: Uint8Array): void {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  socket.write(Buffer.concat([length, message]));
}

/** The next message. Throws `enrol-protocol` when the peer ends or sends more than `bytesMax`. */
export function createMessageReader(socket: Duplex): {
  next(options: { bytesMax: number; signal: AbortSignal }): Promise<Uint8Array>;
} {
  let received = Buffer.alloc(0);
  let ended: Error | undefined;
  let bound = 4 + answerBytesMax;
  let wake: (() => void) | undefined;
  const notify = () => wake?.();
  const stop = (error: Error) => {
    ended ??= error;
    notify();
  };
  socket.on("data", (bytes: Buffer) => {
    if (received.length + bytes.length > bound) return stop(broken("more than is allowed"));
    received = Buffer.concat([received, bytes]);
    notify();
  });
  socket.on("error", stop);
  socket.on("close", () => stop(broken("nothing more: the connection ended")));
  return {
    async next({ bytesMax, signal }) {
      bound = 4 + bytesMax;
      signal.addEventListener("abort", notify);
      try {
        for (;;) {
          if (received.length >= 4) {
            const length = received.readUInt32BE(0);
            if (length > bytesMax) throw broken(`${length} bytes where ${bytesMax} are allowed`);
            if (received.length >= 4 + length) {
              const message = Uint8Array.from(received.subarray(4, 4 + length));
              received = received.subarray(4 + length);
              return message;
            }
          }
          if (ended) throw ended;
          signal.throwIfAborted();
          await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        signal.removeEventListener("abort", notify);
      }
    },
  };
}

function broken(what: string): SkerryError {
  return new SkerryError({
    code: "enrol-protocol",
    message: `the other side of the enrolment sent ${what}`,
    hint: "is this the peers port of a node, or the hub's port?",
  });
}

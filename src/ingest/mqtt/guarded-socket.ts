/**
 * A socket whose packets are measured before the broker sees them. Until the client is known only its
 * first packet is passed on, and it must be a small CONNECT: what a stranger can make this process
 * hold is `connectBytesMax` and what the socket read beyond it.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createFrameMeter } from "./frames.ts";
import { connectBytesMax, packetBytesMax, partialBytesMax, unreadBytesMax } from "./limits.ts";

export interface GuardedSocket {
  readonly stream: Duplex;
  /** The client is known: its further packets pass. */
  open(): void;
  /** Closes a connection that sends or reads nothing of what it should for longer than this. */
  closeIfStalled(limitMs: number): void;
}

/** What packets that have not come to their end take, over all connections. */
export type PartialBudget = { bytes: number };

const connectType = 1;
/** Who holds less than this of an unfinished packet is never closed for the others' sake. */
const partialLittle = 64 * 1024;

const invalid = (message: string) => new SkerryError({ code: "invalid-packet", message });

/**
 * Destroys itself with `message-too-large`, `invalid-packet`, `store-busy` or `client-too-slow` when a
 * packet may not pass, or does not come to its end.
 */
export function guardSocket(
  socket: Socket,
  deps: { readonly clock: Clock; readonly partial: PartialBudget },
): GuardedSocket {
  const { clock, partial } = deps;
  let phase: "first" | "held" | "open" = "first";
  let meter = createFrameMeter({ packetBytesMax: connectBytesMax });
  let held: Buffer[] = [];
  let partialBytes = 0;
  let partialSinceMs: number | undefined;
  let flushes = 0;
  let flushesSeen = 0;
  let unreadSinceMs: number | undefined;

  const stream = new Duplex({
    writableHighWaterMark: unreadBytesMax,
    read() {
      if (phase !== "held") socket.resume();
    },
    write(chunk: Uint8Array, _encoding, done) {
      socket.write(chunk, (error) => flushed(done, error));
    },
    writev(chunks, done) {
      socket.cork();
      for (const { chunk } of chunks.slice(0, -1)) socket.write(chunk);
      socket.write(chunks.at(-1)?.chunk ?? "", (error) => flushed(done, error));
      socket.uncork();
    },
    final(done) {
      socket.end(done);
    },
    destroy(error, done) {
      setPartial(0);
      held = [];
      socket.destroy();
      done(error);
    },
  });
  const flushed = (done: (error?: Error | null) => void, error?: Error | null) => {
    flushes++;
    done(error);
  };

  const setPartial = (bytes: number) => {
    partial.bytes += bytes - partialBytes;
    partialBytes = bytes;
  };

  const tooLarge = (bytes: number) => {
    const max = phase === "open" ? packetBytesMax : connectBytesMax;
    return new SkerryError({
      code: "message-too-large",
      message: `an MQTT packet of ${bytes} bytes; at most ${max} are taken${phase === "open" ? "" : " before a client is known"}`,
    });
  };

  const take = (chunk: Buffer) => {
    if (stream.destroyed) return;
    if (phase === "held") {
      held.push(chunk);
      return;
    }
    if (phase === "first" && meter.partialBytes === 0 && (chunk[0] ?? 0) >> 4 !== connectType)
      return void stream.destroy(invalid("the first packet of a client must be CONNECT"));
    const verdict = meter.accept(chunk, phase === "first" ? 1 : Infinity);
    if (!verdict.ok) {
      return void stream.destroy(
        verdict.reason === "too-large"
          ? tooLarge(verdict.bytes)
          : invalid("the length of an MQTT packet takes more than four bytes"),
      );
    }
    setPartial(meter.partialBytes);
    partialSinceMs =
      partialBytes === 0
        ? undefined
        : verdict.packets > 0
          ? clock.monotonicMs()
          : (partialSinceMs ?? clock.monotonicMs());
    if (partial.bytes > partialBytesMax && partialBytes > partialLittle) {
      return void stream.destroy(
        new SkerryError({
          code: "store-busy",
          message: "messages that have not come to their end take all the memory that they may",
          retryable: true,
        }),
      );
    }
    if (phase === "first" && verdict.packets === 1) {
      phase = "held";
      socket.pause();
      if (verdict.bytes < chunk.length) held.push(chunk.subarray(verdict.bytes));
      stream.push(chunk.subarray(0, verdict.bytes));
    } else if (!stream.push(chunk)) socket.pause();
  };

  socket.on("data", take);
  socket.on("end", () => stream.push(null));
  socket.on("error", (error) => stream.destroy(error));
  socket.on("close", () => stream.destroy());
  // Until the broker listens, and after it stopped to.
  stream.on("error", () => {});

  return {
    stream,
    open() {
      if (phase !== "held" || stream.destroyed) return;
      phase = "open";
      meter = createFrameMeter({ packetBytesMax });
      const waiting = held;
      held = [];
      for (const chunk of waiting) take(chunk);
      if (!stream.destroyed) socket.resume();
    },
    closeIfStalled(limitMs) {
      const nowMs = clock.monotonicMs();
      const unread = stream.writableLength > 0 && flushes === flushesSeen;
      flushesSeen = flushes;
      unreadSinceMs = unread ? (unreadSinceMs ?? nowMs) : undefined;
      const tooSlow = (message: string) =>
        stream.destroy(new SkerryError({ code: "client-too-slow", message, retryable: true }));
      if (partialSinceMs !== undefined && nowMs - partialSinceMs >= limitMs)
        tooSlow(`a packet was begun and not ended within ${limitMs} ms`);
      else if (unreadSinceMs !== undefined && nowMs - unreadSinceMs >= limitMs)
        tooSlow(`nothing of what was sent to it was read for ${limitMs} ms`);
    },
  };
}

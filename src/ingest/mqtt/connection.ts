/**
 * One socket as whole packets. A packet is judged by its header, before it is collected; until the
 * client is known only its first packet is passed on, and it must be a small CONNECT: what a stranger
 * can make this process hold is `connectBytesMax` and what the socket read beyond it. What is written
 * within one turn of the event loop leaves in one piece.
 */
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createFrameMeter } from "./frames.ts";
import { connectBytesMax, packetBytesMax, partialBytesMax, unreadBytesMax } from "./limits.ts";

/** What packets that have not come to their end take, over all connections. */
export type PartialBudget = { bytes: number };

export type ConnectionEvents = {
  /** One whole packet. */
  packet(frame: Buffer): void;
  /** What was read so far has been passed on. */
  read(): void;
  /** Something that was written left, after `unreadBytes` had been above the limit. */
  drained(): void;
  /** A packet may not pass, or does not come to its end, or nothing is read: call `close`. */
  failed(error: SkerryError): void;
  /** Once; nothing comes after it. */
  closed(): void;
};

export interface Connection {
  readonly socket: Socket;
  readonly closed: boolean;
  /** Written and not yet taken by the network. */
  readonly unreadBytes: number;
  /** Whether more is unread than a reader that reads would leave; `drained` says when it is not. */
  readonly isFull: boolean;
  write(bytes: Buffer): void;
  /** The client is known: its further packets pass. */
  open(): void;
  /** Stops and goes on reading; packets that were read already still come. */
  pause(): void;
  resume(): void;
  /** After `last` where something is to be said, at once where not. */
  close(last?: Buffer): void;
  /** Looks for what does not move. */
  sweep(look: Look): void;
}

/** One of the looks at what does not move, which follow each other. */
export type Look = {
  readonly nowMs: number;
  /** By which this one came late: we stood still then, and heard nobody. No client answers for it. */
  readonly lostMs: number;
  /** How long nothing may move. */
  readonly limitMs: number;
};

/** A time at which something was seen, with what was lost since put off. */
export const excused = (atMs: number, { nowMs, lostMs }: Look): number =>
  Math.min(nowMs, atMs + lostMs);

const connectType = 1;
/** Who holds less than this of an unfinished packet is never closed for the others' sake. */
const partialLittle = 64 * 1024;
/** How long a peer may take to read its last packet and close. */
const closingMs = 5_000;
const joinBytesMax = 64 * 1024;

export function createConnection(
  socket: Socket,
  deps: { readonly clock: Clock; readonly partial: PartialBudget },
  events: ConnectionEvents,
): Connection {
  const { clock, partial } = deps;
  let phase: "first" | "held" | "open" | "closing" | "closed" = "first";
  let meter = createFrameMeter({ packetBytesMax: connectBytesMax });
  /** Of a packet that has not ended. */
  const begun = createCollector();
  let held: Buffer[] = [];
  let [partialBytes, partialSinceMs] = [0, undefined as number | undefined];
  let [outgoing, outgoingBytes] = [[] as Buffer[], 0];
  let [flushes, flushesSeen] = [0, 0];
  let unreadSinceMs: number | undefined;
  let closingSinceMs = 0;
  let wasFull = false;

  const setPartial = (bytes: number) => {
    partial.bytes += bytes - partialBytes;
    partialBytes = bytes;
  };
  const over = () => phase === "closing" || phase === "closed";
  const unread = () => socket.writableLength + outgoingBytes;

  const fail = (error: SkerryError) => {
    if (over()) return;
    events.failed(error);
    if (!over()) connection.close();
  };
  const tooLarge = (bytes: number) => {
    const max = phase === "open" ? packetBytesMax : connectBytesMax;
    return new SkerryError({
      code: "message-too-large",
      message: `an MQTT packet of ${bytes} bytes; at most ${max} are taken${phase === "open" ? "" : " before a client is known"}`,
    });
  };
  const invalid = (message: string) => new SkerryError({ code: "invalid-packet", message });

  const take = (chunk: Buffer) => {
    let [at, packets] = [0, 0];
    while (at < chunk.length) {
      if (phase === "held") return void held.push(at === 0 ? chunk : chunk.subarray(at));
      if (over()) return;
      if (phase === "first" && meter.partialBytes === 0 && (chunk[at] ?? 0) >> 4 !== connectType)
        return fail(invalid("the first packet of a client must be CONNECT"));
      const rest = at === 0 ? chunk : chunk.subarray(at);
      const verdict = meter.accept(rest, 1);
      if (!verdict.ok) {
        return fail(
          verdict.reason === "too-large"
            ? tooLarge(verdict.bytes)
            : invalid("the length of an MQTT packet takes more than four bytes"),
        );
      }
      at += verdict.bytes;
      const piece = rest.subarray(0, verdict.bytes);
      if (verdict.packets === 0) {
        begun.add(piece);
        continue;
      }
      packets++;
      const frame = begun.complete(piece);
      if (phase === "first") {
        phase = "held";
        socket.pause();
      }
      events.packet(frame);
    }
    if (over()) return;
    setPartial(meter.partialBytes);
    partialSinceMs =
      partialBytes === 0
        ? undefined
        : packets > 0
          ? clock.monotonicMs()
          : (partialSinceMs ?? clock.monotonicMs());
    if (partial.bytes > partialBytesMax && partialBytes > partialLittle) {
      return fail(
        new SkerryError({
          code: "store-busy",
          message: "messages that have not come to their end take all the memory that they may",
          retryable: true,
        }),
      );
    }
    events.read();
  };

  const flush = () => {
    const [buffers, bytes] = [outgoing, outgoingBytes];
    [outgoing, outgoingBytes] = [[], 0];
    if (socket.destroyed || !socket.writable) return;
    const [only] = buffers;
    if (buffers.length === 1 && only) socket.write(only, flushed);
    else if (bytes <= joinBytesMax) socket.write(Buffer.concat(buffers, bytes), flushed);
    else {
      socket.cork();
      for (const [i, buffer] of buffers.entries())
        socket.write(buffer, i === buffers.length - 1 ? flushed : undefined);
      socket.uncork();
    }
  };
  const flushed = () => {
    flushes++;
    if (!wasFull || unread() > unreadBytesMax / 4 || over()) return;
    wasFull = false;
    events.drained();
  };

  socket.on("data", take);
  // A reset; `close` follows.
  socket.on("error", () => {});
  socket.on("close", () => {
    phase = "closed";
    setPartial(0);
    begun.complete(nothing);
    [held, outgoing, outgoingBytes] = [[], [], 0];
    events.closed();
  });

  const connection: Connection = {
    socket,
    get closed() {
      return over();
    },
    get unreadBytes() {
      return unread();
    },
    get isFull() {
      wasFull ||= unread() > unreadBytesMax / 2;
      return wasFull;
    },
    write(bytes) {
      if (over()) return;
      if (outgoing.length === 0) process.nextTick(flush);
      outgoing.push(bytes);
      outgoingBytes += bytes.length;
    },
    open() {
      if (phase !== "held") return;
      phase = "open";
      meter = createFrameMeter({ packetBytesMax });
      const waiting = held;
      held = [];
      socket.resume();
      for (const chunk of waiting) take(chunk);
    },
    pause() {
      socket.pause();
    },
    resume() {
      if (phase === "open") socket.resume();
    },
    close(last) {
      if (over()) return;
      if (!last) {
        // What was written in this turn has been promised.
        if (outgoing.length > 0) flush();
        phase = "closing";
        return void socket.destroySoon();
      }
      connection.write(last);
      flush();
      phase = "closing";
      closingSinceMs = clock.monotonicMs();
      // Read to its end and thrown away: with something unread the network would reset the
      // connection, and what was said last would be lost.
      socket.resume();
      socket.end();
    },
    sweep(look) {
      const { nowMs, limitMs } = look;
      if (phase === "closing") {
        if (nowMs - closingSinceMs >= closingMs) socket.destroy();
        return;
      }
      const isUnread = unread() > 0 && flushes === flushesSeen;
      flushesSeen = flushes;
      unreadSinceMs = isUnread ? excused(unreadSinceMs ?? nowMs, look) : undefined;
      if (partialSinceMs !== undefined) partialSinceMs = excused(partialSinceMs, look);
      const tooSlow = (message: string) =>
        fail(new SkerryError({ code: "client-too-slow", message, retryable: true }));
      if (partialSinceMs !== undefined && nowMs - partialSinceMs >= limitMs)
        tooSlow(`a packet was begun and not ended within ${limitMs} ms`);
      else if (unreadSinceMs !== undefined && nowMs - unreadSinceMs >= limitMs)
        tooSlow(`nothing of what was sent to it was read for ${limitMs} ms`);
    },
  };
  return connection;
}

const nothing = Buffer.alloc(0);

/** Collects what comes in pieces of any size in at most twice its size. */
function createCollector() {
  let [bytes, size] = [nothing, 0];
  const add = (piece: Buffer) => {
    if (size + piece.length > bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(256, 2 * bytes.length, size + piece.length));
      bytes.copy(larger, 0, 0, size);
      bytes = larger;
    }
    piece.copy(bytes, size);
    size += piece.length;
  };
  return {
    add,
    /** Everything up to and with `last`, which is given back as it is when it is all. */
    complete(last: Buffer): Buffer {
      if (size === 0) return last;
      add(last);
      const whole = bytes.subarray(0, size);
      [bytes, size] = [nothing, 0];
      return whole;
    },
  };
}

/**
 * Waits for the first record of a TLS connection. A connection that says nothing, or dribbles, costs
 * its socket and a timer here; only one with something to work on takes a turn at the handshakes.
 */
import type { Socket } from "node:net";
import type { Clock } from "../lib/clock.ts";

export type HelloOptions = {
  readonly withinMs: number;
  /** The socket's next byte is the client's first. */
  readonly onHello: (socket: Socket) => void;
  /** The time is over; the socket is about to be closed. */
  readonly onNone: (socket: Socket) => void;
};

const headerBytes = 5;
const handshakeRecord = 22;
const recordBytesMax = 16_384;

export function awaitHello(
  { clock }: { clock: Clock },
  socket: Socket,
  { withinMs, onHello, onNone }: HelloOptions,
): void {
  const timer = clock.after(withinMs, () => {
    onNone(socket);
    socket.destroy();
  });
  socket.once("close", () => timer.cancel());
  let held: Buffer = Buffer.alloc(0);
  const read = () => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    if (held.length < bytesOfFirstRecord(held)) return;
    timer.cancel();
    socket.off("readable", read);
    socket.unshift(held);
    onHello(socket);
  };
  socket.on("readable", read);
}

/** What is no handshake is nothing to wait for: TLS refuses it in its own words. */
function bytesOfFirstRecord(held: Buffer): number {
  if (held.length < headerBytes) return headerBytes;
  const length = held.readUInt16BE(3);
  return held[0] === handshakeRecord && length <= recordBytesMax ? headerBytes + length : 0;
}

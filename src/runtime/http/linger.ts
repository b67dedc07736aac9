/**
 * The end of a connection whose client still sends: closed at once, TCP would answer what comes with a
 * reset, and a reset overtakes the answer that was sent before it.
 */
import type { Socket } from "node:net";

/** For the answer to arrive, and the client to notice. */
const lingerMs = 2000;

/**
 * From now on the server's close of this connection (`destroySoon`, after the last answer) ends its own
 * side only; what the client still sends is read and dropped until it ends too, 2 s at most.
 */
export function lingerBeforeClose(socket: Socket): void {
  socket.destroySoon = () => {
    if (socket.destroyed) return;
    socket.end();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.once("end", () => socket.destroy());
    socket.once("close", () => clearTimeout(timer));
  };
}

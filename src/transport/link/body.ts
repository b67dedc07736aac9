/** Bodies in pieces: a sender that cuts, a receiver that joins, and a budget for what is held. */
import { SkerryError } from "../../lib/errors.ts";
import { chunkBytesMax, encodeFrame, type Frame } from "./frames.ts";
import type { Source } from "./outbox.ts";

export type Budget = {
  /** False when so much is not left; nothing is taken then. */
  take(bytes: number): boolean;
  /** Takes it whether or not it is left. */
  count(bytes: number): void;
  give(bytes: number): void;
  readonly usedBytes: number;
};

export function createBudget(bytesMax: number): Budget {
  let usedBytes = 0;
  return {
    take(bytes) {
      if (usedBytes + bytes > bytesMax) return false;
      usedBytes += bytes;
      return true;
    },
    count(bytes) {
      usedBytes += bytes;
    },
    give(bytes) {
      usedBytes -= bytes;
    },
    get usedBytes() {
      return usedBytes;
    },
  };
}

/** Joins the pieces of a body of known length into memory of its own (it may go to a thread). */
export type Assembly = {
  /** The whole body once it is complete. Throws `link-protocol` when there is more than announced. */
  push(chunk: Uint8Array): Uint8Array | undefined;
};

export function assemble(totalBytes: number): Assembly {
  const chunks: Uint8Array[] = [];
  let received = 0;
  return {
    push(chunk) {
      received += chunk.length;
      if (received > totalBytes) {
        throw new SkerryError({
          code: "link-protocol",
          message: `the peer sent ${received} bytes of a body of ${totalBytes}`,
        });
      }
      chunks.push(chunk);
      if (received < totalBytes) return undefined;
      const whole = new Uint8Array(totalBytes);
      let offset = 0;
      for (const part of chunks) {
        whole.set(part, offset);
        offset += part.length;
      }
      return whole;
    },
  };
}

/** A body as frames: `first` for the beginning, `rest` for what does not fit. Cut as it is written. */
export function bodySource(options: {
  readonly body: Uint8Array;
  readonly first: (chunk: Uint8Array) => Frame;
  readonly rest: (chunk: Uint8Array) => Frame;
  /** Ends the source early: nobody wants the rest. */
  readonly isCancelled: () => boolean;
  /** Called once, when the last frame is handed to the socket or the source was cancelled. */
  readonly onDone: () => void;
}): Source {
  const { body } = options;
  let offset = 0;
  let state: "first" | "rest" | "done" = "first";
  const finish = () => {
    if (state === "done") return;
    state = "done";
    options.onDone();
  };
  return {
    next() {
      if (state === "done" || options.isCancelled()) {
        finish();
        return undefined;
      }
      const chunk = body.subarray(offset, offset + chunkBytesMax);
      offset += chunk.length;
      const frame = encodeFrame(state === "first" ? options.first(chunk) : options.rest(chunk));
      state = "rest";
      const isLast = offset >= body.length;
      if (isLast) finish();
      return { frame, isLast };
    },
    abandon: finish,
  };
}

export function bodyTooLarge(what: string, sizes: { bytes: number; bytesMax: number }) {
  return new SkerryError({
    code: "body-too-large",
    message: `${what} has ${sizes.bytes} bytes; ${sizes.bytesMax} are allowed`,
    hint: "send it in parts, or as a stream",
  });
}

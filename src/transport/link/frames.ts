/**
 * The wire of a link (`skerry-link/1`): length-prefixed frames, small enough that a large body never
 * holds up a ping. Reading is strict: whatever is not exactly one of these frames ends the link.
 *
 * Frame: u32 length of the rest | u8 type | u32 call | payload. Calls are numbered by their opener;
 * the dialling side takes odd numbers, the accepting side even ones.
 */
import { SkerryError, type EncodedError } from "../../lib/errors.ts";

export type Priority = 0 | 1 | 2;

export type Frame =
  /** Opens a call; the body follows in `body` frames when it does not fit. */
  | {
      readonly type: "open";
      readonly call: number;
      readonly priority: Priority;
      readonly isStream: boolean;
      /** 0: the caller sets no limit. */
      readonly timeoutMs: number;
      readonly bodyBytes: number;
      readonly method: string;
      readonly chunk: Uint8Array;
    }
  | { readonly type: "body"; readonly call: number; readonly chunk: Uint8Array }
  /** Begins an answer (of a unary call) or an item (of a stream) of so many bytes. */
  | {
      readonly type: "item";
      readonly call: number;
      readonly itemBytes: number;
      readonly chunk: Uint8Array;
    }
  | { readonly type: "more"; readonly call: number; readonly chunk: Uint8Array }
  | { readonly type: "end"; readonly call: number }
  | { readonly type: "error"; readonly call: number; readonly error: EncodedError }
  /** The reader has taken so many bytes of a stream. */
  | { readonly type: "credit"; readonly call: number; readonly bytes: number }
  | { readonly type: "cancel"; readonly call: number }
  /** The sender's time, milliseconds since 1970, and a token to echo. */
  | { readonly type: "ping"; readonly token: number; readonly nowMs: number }
  | { readonly type: "pong"; readonly token: number; readonly nowMs: number }
  /** First frame of the accepting side: it has judged the peer and takes calls. */
  | { readonly type: "welcome" }
  /** The sender opens no more calls on this link. */
  | { readonly type: "retire" }
  /** Last frame: why the link is closed. */
  | { readonly type: "farewell"; readonly error: EncodedError };

const typeNumbers = {
  open: 1,
  body: 2,
  item: 3,
  more: 4,
  end: 5,
  error: 6,
  credit: 7,
  cancel: 8,
  ping: 9,
  pong: 10,
  welcome: 11,
  retire: 12,
  farewell: 13,
} as const;
const typeByNumber = new Map(
  Object.entries(typeNumbers).map(([name, number]) => [number as number, name as Frame["type"]]),
);

/** Bytes of a body in one frame. */
export const chunkBytesMax = 32 * 1024;
/** A frame's bytes after its length: a chunk, and room for the head of `open` and for errors. */
export const frameBytesMax = chunkBytesMax + 4096;
const methodBytesMax = 128;
const errorBytesMax = 4096;
const headBytes = 9;

export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.type) {
    case "open": {
      const method = Buffer.from(frame.method);
      if (method.length === 0 || method.length > methodBytesMax)
        throw new RangeError(`method name of ${method.length} bytes`);
      const bytes = start(frame.type, frame.call, 11 + method.length + frame.chunk.length);
      bytes[9] = frame.priority | (frame.isStream ? 0x80 : 0);
      bytes.writeUInt32BE(Math.min(frame.timeoutMs, 0xffff_ffff), 10);
      bytes.writeUInt32BE(frame.bodyBytes, 14);
      bytes.writeUInt16BE(method.length, 18);
      bytes.set(method, 20);
      bytes.set(frame.chunk, 20 + method.length);
      return bytes;
    }
    case "body":
    case "more": {
      const bytes = start(frame.type, frame.call, frame.chunk.length);
      bytes.set(frame.chunk, headBytes);
      return bytes;
    }
    case "item": {
      const bytes = start(frame.type, frame.call, 4 + frame.chunk.length);
      bytes.writeUInt32BE(frame.itemBytes, 9);
      bytes.set(frame.chunk, 13);
      return bytes;
    }
    case "credit": {
      const bytes = start(frame.type, frame.call, 4);
      bytes.writeUInt32BE(frame.bytes, 9);
      return bytes;
    }
    case "ping":
    case "pong": {
      const bytes = start(frame.type, frame.token, 8);
      bytes.writeDoubleBE(frame.nowMs, 9);
      return bytes;
    }
    case "error":
    case "farewell": {
      const body = encodeErrorBytes(frame.error);
      const bytes = start(frame.type, frame.type === "error" ? frame.call : 0, body.length);
      bytes.set(body, headBytes);
      return bytes;
    }
    case "end":
    case "cancel":
      return start(frame.type, frame.call, 0);
    case "welcome":
    case "retire":
      return start(frame.type, 0, 0);
  }
}

function start(type: Frame["type"], call: number, payloadBytes: number): Buffer {
  const bytes = Buffer.alloc(headBytes + payloadBytes);
  bytes.writeUInt32BE(5 + payloadBytes, 0);
  bytes[4] = typeNumbers[type];
  bytes.writeUInt32BE(call, 5);
  return bytes;
}

/** An error too large for a frame (or not to be written as JSON) loses its causes and details. */
function encodeErrorBytes(error: EncodedError): Buffer {
  const whole = jsonOf(error);
  if (whole !== undefined && whole.length <= errorBytesMax) return whole;
  const { code, message, retryable } = error;
  return Buffer.from(
    JSON.stringify({ code: code.slice(0, 100), message: message.slice(0, 500), retryable }),
  );
}

function jsonOf(error: EncodedError): Buffer | undefined {
  try {
    return Buffer.from(JSON.stringify(error));
  } catch (failure) {
    // Details with a cycle or a bigint: the message still arrives.
    if (failure instanceof TypeError) return undefined;
    throw failure;
  }
}

/** Feeds bytes, gives frames. Throws `link-protocol`, after which it must not be used again. */
export function createFrameReader(): { push(bytes: Uint8Array): Frame[] } {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  return {
    push(bytes) {
      pending.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
      pendingBytes += bytes.length;
      const frames: Frame[] = [];
      for (;;) {
        if (pendingBytes < 4) return frames;
        const first = pending[0] as Buffer;
        // Joined only when a frame is whole, so that many small reads are not copied again and again.
        const length = first.length >= 4 ? first.readUInt32BE(0) : joined().readUInt32BE(0);
        if (length < 5 || length > frameBytesMax) throw broken(`frame of ${length} bytes`);
        if (pendingBytes < 4 + length) return frames;
        const whole = joined();
        frames.push(decode(whole.subarray(4, 4 + length)));
        const rest = whole.subarray(4 + length);
        pending = rest.length > 0 ? [rest] : [];
        pendingBytes = rest.length;
      }
    },
  };

  function joined(): Buffer {
    if (pending.length > 1) pending = [Buffer.concat(pending)];
    return pending[0] as Buffer;
  }
}

function decode(bytes: Buffer): Frame {
  const type = typeByNumber.get(bytes[0] ?? 0);
  const call = bytes.readUInt32BE(1);
  const payload = bytes.subarray(5);
  const exactly = (length: number) => {
    if (payload.length !== length) throw broken(`${type} frame with ${payload.length} bytes`);
  };
  switch (type) {
    case "open": {
      if (payload.length < 12) throw broken("open frame cut short");
      const flags = payload[0] ?? 0;
      const methodBytes = payload.readUInt16BE(9);
      const priority = flags & 0x7f;
      if (priority > 2) throw broken(`priority ${priority}`);
      if (methodBytes === 0 || methodBytes > methodBytesMax || payload.length < 11 + methodBytes)
        throw broken("method name");
      return {
        type,
        call,
        priority: priority as Priority,
        isStream: (flags & 0x80) !== 0,
        timeoutMs: payload.readUInt32BE(1),
        bodyBytes: payload.readUInt32BE(5),
        method: payload.toString("utf8", 11, 11 + methodBytes),
        chunk: payload.subarray(11 + methodBytes),
      };
    }
    case "body":
    case "more":
      return { type, call, chunk: payload };
    case "item":
      if (payload.length < 4) throw broken("item frame cut short");
      return { type, call, itemBytes: payload.readUInt32BE(0), chunk: payload.subarray(4) };
    case "credit":
      exactly(4);
      return { type, call, bytes: payload.readUInt32BE(0) };
    case "ping":
    case "pong":
      exactly(8);
      return { type, token: call, nowMs: payload.readDoubleBE(0) };
    case "error":
      return { type, call, error: readError(payload) };
    case "farewell":
      return { type, error: readError(payload) };
    case "end":
    case "cancel":
      exactly(0);
      return { type, call };
    case "welcome":
    case "retire":
      exactly(0);
      return { type };
    case undefined:
      throw broken(`frame type ${bytes[0]}`);
  }
}

function readError(payload: Buffer): EncodedError {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    throw broken("error frame that is not JSON");
  }
  if (!isEncodedError(value)) throw broken("error frame without code and message");
  return value;
}

function isEncodedError(value: unknown, depth = 0): value is EncodedError {
  if (typeof value !== "object" || value === null || depth > 8) return false;
  const { code, message, retryable, hint, cause } = value as Record<string, unknown>;
  return (
    typeof code === "string" &&
    typeof message === "string" &&
    typeof retryable === "boolean" &&
    (hint === undefined || typeof hint === "string") &&
    (cause === undefined || isEncodedError(cause, depth + 1))
  );
}

function broken(what: string): SkerryError {
  return new SkerryError({
    code: "link-protocol",
    message: `the peer sent what is not of skerry-link/1: ${what}`,
  });
}

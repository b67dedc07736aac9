/**
 * Bodies of requests. Small ones are kept so that they can be sent again, as long as there is room
 * for that; larger ones are streamed once. A client that stops sending is not waited for.
 */
import type { IncomingMessage } from "node:http";
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";

export type RequestBody =
  | { readonly state: "none" }
  /** Small enough to be kept and sent again. Call `release` when it is not needed any more. */
  | { readonly state: "kept"; readonly bytes: Buffer; readonly release: () => void }
  | { readonly state: "streamed"; readonly stream: AsyncIterable<Uint8Array> };

export type BodyOptions = {
  /** Default 64 KiB. */
  readonly keptBytesMax?: number;
  /** Of all requests together; beyond it bodies are streamed. Default 16 MiB. */
  readonly keptBytesMaxTotal?: number;
  readonly bodyBytesMax: number;
  /** Between two pieces of a body. */
  readonly idleTimeoutMs: number;
};

export interface Bodies {
  /**
   * Throws `request-timeout` or `body-too-large`; rejects when the client breaks off. Once it is
   * streamed, `onFault` is told instead.
   */
  read(request: IncomingMessage, onFault: (fault: SkerryError) => void): Promise<RequestBody>;
  readonly keptBytes: number;
}

const none: RequestBody = { state: "none" };

export function createBodies(deps: { clock: Clock }, options: BodyOptions): Bodies {
  const {
    keptBytesMax = 64 * 1024,
    keptBytesMaxTotal = 16 * 1024 * 1024,
    bodyBytesMax,
    idleTimeoutMs,
  } = options;
  let keptBytes = 0;

  /** The next piece, or a fault when it is too late or too much. */
  const reader = (request: IncomingMessage) => {
    const chunks = chunksOf(request);
    let bytes = 0;
    return async (): Promise<Buffer | undefined> => {
      const next = await inTime(chunks.next());
      if (next.done) return undefined;
      bytes += next.value.length;
      if (bytes > bodyBytesMax) throw tooLarge(bodyBytesMax);
      return next.value;
    };
  };

  const inTime = <T>(work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = deps.clock.after(idleTimeoutMs, () => reject(tooSlow(idleTimeoutMs)));
      work.then(resolve, reject).finally(() => timer.cancel());
    });

  async function* streamed(
    first: readonly Buffer[],
    next: () => Promise<Buffer | undefined>,
    onFault: (fault: SkerryError) => void,
  ) {
    yield* first;
    try {
      for (let chunk = await next(); chunk; chunk = await next()) yield chunk;
    } catch (error) {
      if (error instanceof SkerryError) onFault(error);
      throw error;
    }
  }

  return {
    async read(request, onFault) {
      const { "content-length": header, "transfer-encoding": encoding } = request.headers;
      if (header === undefined && encoding === undefined) return none;
      const length = Number(header);
      if (length === 0) return none;
      if (length > bodyBytesMax) throw tooLarge(bodyBytesMax);
      const next = reader(request);
      const chunks: Buffer[] = [];
      // A body of unknown length is counted as the most it may be kept with.
      const reserved = Number.isNaN(length) ? keptBytesMax : length;
      if (reserved > keptBytesMax || keptBytes + reserved > keptBytesMaxTotal)
        return { state: "streamed", stream: streamed(chunks, next, onFault) };
      keptBytes += reserved;
      let held = true;
      const release = () => {
        if (held) keptBytes -= reserved;
        held = false;
      };
      try {
        let bytes = 0;
        for (let chunk = await next(); chunk; chunk = await next()) {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes <= keptBytesMax) continue;
          release();
          return { state: "streamed", stream: streamed(chunks, next, onFault) };
        }
        return { state: "kept", bytes: Buffer.concat(chunks), release };
      } catch (error) {
        release();
        throw error;
      }
    },
    get keptBytes() {
      return keptBytes;
    },
  };
}

/** The body as it comes. Giving it up leaves the connection whole, so that an answer can be sent. */
export async function* streamOf(request: IncomingMessage): AsyncIterable<Uint8Array> {
  yield* chunksOf(request);
}

const chunksOf = (request: IncomingMessage) =>
  request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;

const tooSlow = (idleTimeoutMs: number) =>
  new SkerryError({
    code: "request-timeout",
    message: `no byte of the request's body came for ${idleTimeoutMs} ms`,
  });

const tooLarge = (bytesMax: number) =>
  new SkerryError({
    code: "body-too-large",
    message: `the request's body is larger than ${bytesMax} bytes`,
  });

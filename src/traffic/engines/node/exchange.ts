/**
 * One request to one upstream, its answer written straight into the response as it comes. Below the
 * convenience of undici's `request`, which costs a stream and two abort signals for each.
 */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import type { Timer } from "../../../lib/clock.ts";
import { responseHeaders } from "../../headers.ts";
import { AttemptFailed, type Failure } from "./failure.ts";

export interface Exchange {
  /** Resolves when an answer's head was written to the response; rejects when there will be none. */
  readonly accepted: Promise<void>;
  /** After `accepted`: resolves when the answer was handed on whole, rejects when it was cut. */
  readonly ended: Promise<void>;
  /** Whether it had a connection to be written to. */
  readonly started: () => boolean;
  /**
   * Gives the request up at once, with or without a connection. Where `giveUpLater` was given, what was
   * sent and not yet answered may still be answered until then, unheard: to end it ends its connection.
   */
  abort(reason: Error): void;
}

/** Of an answer that nobody waits for any more: reading it is cheaper than a new connection. */
const unheardBytesMax = 64 * 1024;

export function startExchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  options: {
    readonly response: ServerResponse;
    /** A head that is no answer of the application; the next attempt may find a better one. */
    readonly judge?: (headers: IncomingHttpHeaders) => Failure | undefined;
    readonly closeAfter?: () => boolean;
    /** Called when the client has taken nothing of the answer for a while; what it returns disarms. */
    readonly watchStall?: (response: ServerResponse) => () => void;
    readonly giveUpLater?: (giveUp: () => void) => Timer;
  },
): Exchange {
  const { response } = options;
  const accepted = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let state: "waiting" | "accepted" | "judged" | "over" = "waiting";
  let controller: Dispatcher.DispatchController | undefined;
  let aborted: Error | undefined;
  let unheard: Timer | undefined;
  let unheardBytes = 0;
  let disarm = () => {};
  // Who waits for `accepted` hears of the failure there; `ended` is asked for only afterwards.
  ended.promise.catch(() => {});

  const fail = (error: Error) => {
    if (state === "over") return;
    // An answer that is not whole must not look like one.
    if (state === "accepted") response.destroy();
    state = "over";
    disarm();
    accepted.reject(error);
    ended.reject(error);
  };
  const abort = (reason: Error) => {
    aborted = reason;
    const wasWaiting = state === "waiting";
    fail(reason);
    const started = controller;
    if (!started || unheard) return;
    if (wasWaiting && options.giveUpLater)
      unheard = options.giveUpLater(() => started.abort(reason));
    else started.abort(reason);
  };

  try {
    dispatcher.dispatch(request, {
      onRequestStart(started) {
        // An abort would end the connection, which the next in line needs; what is thrown does not.
        if (aborted) throw aborted;
        controller = started;
      },
      onResponseStart(_controller, status, headers) {
        if (status < 200 || state !== "waiting") return;
        const failure = options.judge?.(headers);
        if (failure) {
          state = "judged";
          accepted.reject(new AttemptFailed(failure));
          return;
        }
        state = "accepted";
        const kept = responseHeaders(headers);
        if (options.closeAfter?.()) kept["connection"] = "close";
        response.writeHead(status, kept);
        accepted.resolve();
      },
      onResponseData(reading, chunk) {
        if (aborted) {
          unheardBytes += chunk.byteLength;
          if (unheardBytes > unheardBytesMax) reading.abort(aborted);
        }
        if (state !== "accepted" || response.write(chunk)) return;
        reading.pause();
        disarm = options.watchStall?.(response) ?? disarm;
        response.once("drain", () => {
          disarm();
          reading.resume();
        });
      },
      onResponseEnd() {
        unheard?.cancel();
        if (state !== "accepted") return;
        if (response.writableNeedDrain) disarm = options.watchStall?.(response) ?? disarm;
        response.end(() => {
          state = "over";
          disarm();
          ended.resolve();
        });
      },
      onResponseError(_controller, error) {
        unheard?.cancel();
        fail(error);
      },
    });
  } catch (error) {
    fail(error instanceof Error ? error : new Error(String(error)));
  }
  const started = () => controller !== undefined;
  return { accepted: accepted.promise, ended: ended.promise, started, abort };
}

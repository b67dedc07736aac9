/**
 * One request to one upstream, its answer written straight into the response as it comes. Below the
 * convenience of undici's `request`, which costs a stream and two abort signals for each.
 */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import { responseHeaders } from "../../headers.ts";
import { AttemptFailed, type Failure } from "./failure.ts";

export interface Exchange {
  /** Resolves when an answer's head was written to the response; rejects when there will be none. */
  readonly accepted: Promise<void>;
  /** After `accepted`: resolves when the answer was handed on whole, rejects when it was cut. */
  readonly ended: Promise<void>;
  /** Whether it had a connection to be written to. */
  readonly started: () => boolean;
  /** Gives the request up at once, with or without a connection. */
  abort(reason: Error): void;
}

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
  },
): Exchange {
  const { response } = options;
  const accepted = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let state: "waiting" | "accepted" | "judged" | "over" = "waiting";
  let controller: Dispatcher.DispatchController | undefined;
  let aborted: Error | undefined;
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
    fail(reason);
    controller?.abort(reason);
  };

  try {
    dispatcher.dispatch(request, {
      onRequestStart(started) {
        controller = started;
        if (aborted) started.abort(aborted);
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
        if (state !== "accepted" || response.write(chunk)) return;
        reading.pause();
        disarm = options.watchStall?.(response) ?? disarm;
        response.once("drain", () => {
          disarm();
          reading.resume();
        });
      },
      onResponseEnd() {
        if (state !== "accepted") return;
        if (response.writableNeedDrain) disarm = options.watchStall?.(response) ?? disarm;
        response.end(() => {
          state = "over";
          disarm();
          ended.resolve();
        });
      },
      onResponseError: (_controller, error) => fail(error),
    });
  } catch (error) {
    fail(error instanceof Error ? error : new Error(String(error)));
  }
  const started = () => controller !== undefined;
  return { accepted: accepted.promise, ended: ended.promise, started, abort };
}

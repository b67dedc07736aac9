/** Calls that this side opens. */
import { decodeError, SkerryError } from "../../lib/errors.ts";
import { createQueue, type Queue } from "../../lib/queue.ts";
import type { RequestOptions } from "../transport.ts";
import { assemble, bodySource, bodyTooLarge, type Assembly } from "./body.ts";
import type { Frame, Priority } from "./frames.ts";
import { initialCreditBytes, itemCost } from "./limits.ts";
import { linkBusy, linkLost, linkTimeout, type Wire } from "./wire.ts";

type Call = {
  readonly method: string;
  readonly isStream: boolean;
  assembly: Assembly | undefined;
  reservedBytes: number;
  onBody(body: Uint8Array): void;
  /** The end, with an error unless all went well. */
  onEnd(error?: Error): void;
};

export interface Outgoing {
  request(method: string, body: Uint8Array, options: RequestOptions): Promise<Uint8Array>;
  open(method: string, body: Uint8Array, options: RequestOptions): AsyncIterable<Uint8Array>;
  /** Takes an answer's frame. Throws `link-protocol`. */
  receive(frame: Extract<Frame, { type: "item" | "more" | "end" | "error" }>): void;
  lost(cause: unknown): void;
  readonly size: number;
}

export function createOutgoing(
  wire: Wire,
  options: { firstCall: number; refusal: () => SkerryError | undefined },
): Outgoing {
  const { limits } = wire;
  const calls = new Map<number, Call>();
  let nextCall = options.firstCall;

  /** Sends the opening; the returned function ends the call from our side. */
  const begin = (call: Call, body: Uint8Array, { timeoutMs, signal, priority }: RequestOptions) => {
    const refusal =
      options.refusal() ??
      (body.length > limits.bodyBytesMax
        ? bodyTooLarge(call.method, { bytes: body.length, bytesMax: limits.bodyBytesMax })
        : calls.size >= limits.callsMax
          ? linkBusy(`another call of ${call.method}`)
          : undefined);
    if (refusal) throw refusal;
    signal?.throwIfAborted();

    const id = nextCall;
    nextCall += 2;
    const limitMs = timeoutMs ?? (call.isStream ? 0 : limits.requestTimeoutMs);
    const { onEnd } = call;
    let isOver = false;
    call.onEnd = (error) => {
      if (isOver) return;
      isOver = true;
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      wire.inbound.give(call.reservedBytes);
      calls.delete(id);
      onEnd(error);
      wire.callEnded();
    };
    const abandon = (reason: Error) => {
      if (isOver) return;
      wire.control({ type: "cancel", call: id });
      call.onEnd(reason);
    };
    const onAbort = () => abandon(asError(signal?.reason));
    const timer =
      limitMs > 0
        ? wire.clock.after(limitMs, () => abandon(linkTimeout(call.method, limitMs)))
        : undefined;
    signal?.addEventListener("abort", onAbort, { once: true });
    calls.set(id, call);
    wire.send(
      priority ?? 1,
      bodySource({
        body,
        first: (chunk) => ({
          type: "open",
          call: id,
          priority: (priority ?? 1) as Priority,
          isStream: call.isStream,
          timeoutMs: Math.ceil(limitMs),
          bodyBytes: body.length,
          method: call.method,
          chunk,
        }),
        rest: (chunk) => ({ type: "body", call: id, chunk }),
        isCancelled: () => isOver,
        onDone: () => {},
      }),
    );
    return { id, abandon };
  };

  return {
    request: (method, body, requestOptions) =>
      new Promise((resolve, reject) => {
        let answer: Uint8Array | undefined;
        const call: Call = {
          method,
          isStream: false,
          assembly: undefined,
          reservedBytes: 0,
          onBody(whole) {
            answer = whole;
            call.onEnd();
          },
          onEnd: (error) => (answer ? resolve(answer) : reject(error)),
        };
        begin(call, body, requestOptions);
      }),
    open: (method, body, openOptions) => ({
      [Symbol.asyncIterator]: () => readStream(wire, { method, body, openOptions, begin }),
    }),
    receive(frame) {
      const call = calls.get(frame.call);
      // Cancelled a moment ago: the peer did not know yet.
      if (!call) return;
      switch (frame.type) {
        case "item": {
          const { itemBytes } = frame;
          if (itemBytes > limits.bodyBytesMax || call.assembly) throw outOfOrder(frame.type);
          if (!wire.inbound.take(itemBytes)) {
            wire.control({ type: "cancel", call: frame.call });
            return call.onEnd(linkBusy(`an answer of ${itemBytes} bytes`));
          }
          call.reservedBytes = itemBytes;
          call.assembly = assemble(itemBytes);
          return advance(call, frame.chunk);
        }
        case "more":
          return advance(call, frame.chunk);
        case "end":
          if (!call.isStream) throw outOfOrder(frame.type);
          return call.onEnd();
        case "error":
          return call.onEnd(decodeError(frame.error));
      }
    },
    lost(cause) {
      for (const call of calls.values()) call.onEnd(linkLost(cause, call.method));
    },
    get size() {
      return calls.size;
    },
  };

  function advance(call: Call, chunk: Uint8Array): void {
    if (!call.assembly) throw outOfOrder("more");
    const whole = call.assembly.push(chunk);
    if (!whole) return;
    call.assembly = undefined;
    wire.inbound.give(call.reservedBytes);
    call.reservedBytes = 0;
    call.onBody(whole);
  }
}

type StreamCall = {
  readonly method: string;
  readonly body: Uint8Array;
  readonly openOptions: RequestOptions;
  readonly begin: (
    call: Call,
    body: Uint8Array,
    options: RequestOptions,
  ) => { id: number; abandon: (reason: Error) => void };
};

/** One reader of one stream; grants credit as items are taken. */
async function* readStream(
  wire: Wire,
  { method, body, openOptions, begin }: StreamCall,
): AsyncGenerator<Uint8Array, void, undefined> {
  // As many as the credit can pay for when all items are empty.
  const items: Queue<Uint8Array> = createQueue({
    itemsMax: Math.ceil(initialCreditBytes / itemCost(0)) + 1,
    onFull: "reject",
  });
  let heldCost = 0;
  const { id, abandon } = begin(
    {
      method,
      isStream: true,
      assembly: undefined,
      reservedBytes: 0,
      onBody(item) {
        heldCost += itemCost(item.length);
        const isOverdrawn = heldCost - itemCost(item.length) >= initialCreditBytes;
        if (isOverdrawn || !items.push(item)) throw outOfOrder("item beyond the credit");
      },
      onEnd: (error) => items.close(error),
    },
    body,
    openOptions,
  );
  try {
    let takenCost = 0;
    for await (const item of items) {
      heldCost -= itemCost(item.length);
      takenCost += itemCost(item.length);
      yield item;
      if (takenCost * 4 < initialCreditBytes && items.size > 0) continue;
      wire.control({ type: "credit", call: id, bytes: takenCost });
      takenCost = 0;
    }
  } finally {
    abandon(new SkerryError({ code: "cancelled", message: `${method}: the reader stopped` }));
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new DOMException("aborted", "AbortError");
}

function outOfOrder(what: string): SkerryError {
  return new SkerryError({
    code: "link-protocol",
    message: `the peer sent what is not of skerry-link/1: ${what} out of order`,
  });
}

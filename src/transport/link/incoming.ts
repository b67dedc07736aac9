/** Calls that the peer opens. */
import { encodeError, SkerryError } from "../../lib/errors.ts";
import type { Timer } from "../../lib/clock.ts";
import type { Handler, Link, Peer } from "../transport.ts";
import { assemble, bodySource, bodyTooLarge, type Assembly } from "./body.ts";
import type { Frame, Priority } from "./frames.ts";
import { initialCreditBytes, itemCost } from "./limits.ts";
import { linkBusy, linkTimeout, type Wire } from "./wire.ts";

type Open = Extract<Frame, { type: "open" }>;

type Call = {
  readonly id: number;
  readonly method: string;
  readonly priority: Priority;
  readonly isStream: boolean;
  readonly abort: AbortController;
  assembly: Assembly | undefined;
  reservedBytes: number;
  credit: number;
  wake: (() => void) | undefined;
  timer: Timer | undefined;
};

export interface Incoming {
  receive(frame: Extract<Frame, { type: "open" | "body" | "credit" | "cancel" }>): void;
  lost(cause: unknown): void;
  readonly size: number;
}

export function createIncoming(
  wire: Wire,
  options: {
    readonly peer: Peer;
    readonly link: () => Link;
    readonly find: (method: string) => Handler | undefined;
    /** What a call's number must be modulo 2. */
    readonly parity: 0 | 1;
  },
): Incoming {
  const { limits } = wire;
  const calls = new Map<number, Call>();

  const end = (call: Call) => {
    if (!calls.delete(call.id)) return;
    call.timer?.cancel();
    wire.inbound.give(call.reservedBytes);
    call.reservedBytes = 0;
    wire.callEnded();
  };

  const fail = (call: Call, error: unknown) => {
    if (!calls.has(call.id)) return;
    wire.control({ type: "error", call: call.id, error: encodeError(error) });
    end(call);
  };

  const open = (frame: Open) => {
    if (frame.call % 2 !== options.parity || calls.has(frame.call)) {
      throw new SkerryError({
        code: "link-protocol",
        message: `the peer sent what is not of skerry-link/1: call ${frame.call} opened twice or by the wrong side`,
      });
    }
    const refuse = (error: SkerryError) =>
      wire.control({ type: "error", call: frame.call, error: encodeError(error) });
    const { bodyBytes, method } = frame;
    if (bodyBytes > limits.bodyBytesMax)
      return refuse(bodyTooLarge(method, { bytes: bodyBytes, bytesMax: limits.bodyBytesMax }));
    if (calls.size >= limits.callsMax || wire.outbound.usedBytes >= limits.bufferBytesMax)
      return refuse(linkBusy(`another call of ${method}`));
    if (!wire.inbound.take(bodyBytes)) return refuse(linkBusy(`a body of ${bodyBytes} bytes`));
    const call: Call = {
      id: frame.call,
      method,
      priority: frame.priority,
      isStream: frame.isStream,
      abort: new AbortController(),
      assembly: assemble(bodyBytes),
      reservedBytes: bodyBytes,
      credit: initialCreditBytes,
      wake: undefined,
      timer: undefined,
    };
    calls.set(call.id, call);
    if (frame.timeoutMs > 0) {
      call.timer = wire.clock.after(frame.timeoutMs, () => {
        const error = linkTimeout(method, frame.timeoutMs);
        fail(call, error);
        call.abort.abort(error);
        call.wake?.();
      });
    }
    advance(call, frame.chunk);
  };

  const advance = (call: Call, chunk: Uint8Array) => {
    const body = call.assembly?.push(chunk);
    if (!body) return;
    call.assembly = undefined;
    answer(call, body).catch((error: unknown) => fail(call, error));
  };

  const answer = async (call: Call, body: Uint8Array) => {
    const { method, abort } = call;
    const handler = options.find(method);
    if (!handler) {
      throw new SkerryError({
        code: "unknown-method",
        message: `"${method}" is not answered here`,
        hint: "the two sides may run different versions of Skerry",
      });
    }
    const answered = handler({
      peer: options.peer,
      link: options.link(),
      body,
      signal: abort.signal,
    });
    if (!isIterable(answered)) {
      const whole = await answered;
      await sendBody(call, whole);
      if (call.isStream && calls.has(call.id)) wire.control({ type: "end", call: call.id });
      return end(call);
    }
    if (!call.isStream) {
      throw new SkerryError({
        code: "stream-only",
        message: `"${method}" answers with a stream: open it instead of requesting it`,
      });
    }
    for await (const item of answered) {
      while (call.credit <= 0 && !abort.signal.aborted)
        await new Promise<void>((resolve) => (call.wake = resolve));
      if (abort.signal.aborted) return;
      call.credit -= itemCost(item.length);
      await sendBody(call, item);
      if (abort.signal.aborted) return;
    }
    if (calls.has(call.id)) wire.control({ type: "end", call: call.id });
    end(call);
  };

  /** Resolves when the last piece went to the socket, or the call ended. */
  const sendBody = (call: Call, body: Uint8Array) => {
    if (body.length > limits.bodyBytesMax) {
      throw bodyTooLarge(`the answer to ${call.method}`, {
        bytes: body.length,
        bytesMax: limits.bodyBytesMax,
      });
    }
    if (!calls.has(call.id)) return Promise.resolve();
    // Counted even beyond the budget: the answer exists. New calls are refused until it is sent.
    wire.outbound.count(body.length);
    return new Promise<void>((resolve) => {
      wire.send(
        call.priority,
        bodySource({
          body,
          first: (chunk) => ({ type: "item", call: call.id, itemBytes: body.length, chunk }),
          rest: (chunk) => ({ type: "more", call: call.id, chunk }),
          isCancelled: () => !calls.has(call.id),
          onDone() {
            wire.outbound.give(body.length);
            resolve();
          },
        }),
      );
    });
  };

  return {
    receive(frame) {
      if (frame.type === "open") return open(frame);
      const call = calls.get(frame.call);
      // Ended a moment ago: the peer did not know yet.
      if (!call) return;
      switch (frame.type) {
        case "body":
          if (!call.assembly) {
            throw new SkerryError({
              code: "link-protocol",
              message: "the peer sent what is not of skerry-link/1: body after its end",
            });
          }
          return advance(call, frame.chunk);
        case "credit":
          call.credit = Math.min(call.credit + frame.bytes, initialCreditBytes);
          if (call.credit > 0) call.wake?.();
          return;
        case "cancel":
          end(call);
          call.abort.abort(
            new SkerryError({ code: "cancelled", message: `${call.method}: the caller gave up` }),
          );
          call.wake?.();
      }
    },
    lost(cause) {
      for (const call of calls.values()) {
        end(call);
        call.abort.abort(cause);
        call.wake?.();
      }
    },
    get size() {
      return calls.size;
    },
  };
}

function isIterable(
  answer: Promise<Uint8Array> | AsyncIterable<Uint8Array>,
): answer is AsyncIterable<Uint8Array> {
  return Symbol.asyncIterator in answer;
}

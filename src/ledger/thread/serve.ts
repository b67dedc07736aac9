/** The owner's side: a ledger as methods of `runtime/thread`, composable with other rooms' methods. */
import { encodeError } from "../../lib/errors.ts";
import type { Ledger, WatchBatch } from "../ledger.ts";
import {
  windowBatchesMax,
  windowBytesMax,
  type LedgerMethods,
  type LedgerThreadEvents,
} from "./protocol.ts";

export type LedgerEmit = <Name extends keyof LedgerThreadEvents & string>(
  name: Name,
  event: LedgerThreadEvents[Name],
) => void;

type Outgoing = { readonly stop: AbortController; credit(batches: number): void };

/**
 * Methods to spread into `serveThread`. `emit` is called after the first request only, so it may
 * close over the host that `serveThread` returns:
 * `const host: ThreadHost<LedgerThreadEvents> = serveThread({ ...serveLedger(ledger, (n, e) => host.emit(n, e)) })`.
 * The user's `close` closes `ledger`.
 */
export function serveLedger(ledger: Ledger, emit: LedgerEmit): LedgerMethods {
  const cancelByCall = new Map<number, AbortController>();
  const outgoingByWatch = new Map<number, Outgoing>();

  return {
    "ledger.epoch": () => ledger.epoch,
    "ledger.get": ({ key, ...options }) => ledger.get(key, options),
    "ledger.list": ({ prefix, ...options }) => ledger.list(prefix, options),
    "ledger.transact": async ({ call, conditions, operations, timeoutMs }) => {
      const cancel = new AbortController();
      cancelByCall.set(call, cancel);
      try {
        const outcome = await ledger.transact(conditions, operations, {
          timeoutMs,
          signal: cancel.signal,
        });
        return outcome.state === "unknown"
          ? { state: "unknown", cause: encodeError(outcome.cause) }
          : outcome;
      } finally {
        cancelByCall.delete(call);
      }
    },
    "ledger.cancel": (call) => cancelByCall.get(call)?.abort(),
    "ledger.watch-open": ({ watch, prefix, after }) => {
      const stop = new AbortController();
      const batches = ledger.watch(prefix, { after, signal: stop.signal });
      const paced = pace((sent) => emit("ledger.batches", { watch, batches: sent }), stop.signal);
      outgoingByWatch.set(watch, { stop, credit: paced.credit });
      forward(batches, paced.take)
        .then(
          () => emit("ledger.watch-ended", { watch }),
          (error: unknown) => emit("ledger.watch-ended", { watch, error: encodeError(error) }),
        )
        .finally(() => outgoingByWatch.delete(watch));
    },
    "ledger.watch-credit": ({ watch, batches }) => outgoingByWatch.get(watch)?.credit(batches),
    "ledger.watch-close": (watch) => outgoingByWatch.get(watch)?.stop.abort(),
    "ledger.grant": (ttlMs) => ledger.grant(ttlMs),
    "ledger.renew": (lease) => ledger.renew(lease),
    "ledger.revoke": (lease) => ledger.revoke(lease),
    "ledger.compact": (revision) => ledger.compact(revision),
    "ledger.snapshot": (path) => ledger.snapshot(path),
    "ledger.status": () => ledger.status(),
    "ledger.close": () => ledger.close(),
  };
}

async function forward(
  batches: AsyncIterable<WatchBatch>,
  take: (batch: WatchBatch) => Promise<void>,
): Promise<void> {
  for await (const batch of batches) await take(batch);
}

/**
 * Sends in groups, and resolves `take` when there is room for another batch. What is taken in one
 * turn of the event loop crosses the border in one message.
 */
function pace(
  send: (batches: readonly WatchBatch[]) => void,
  signal: AbortSignal,
): { take(batch: WatchBatch): Promise<void>; credit(batches: number): void } {
  /** Sizes of what the user has not taken yet, oldest first. */
  let unseen: number[] = [];
  let unseenBytes = 0;
  let group: WatchBatch[] = [];
  let wake: (() => void) | undefined;

  const flush = () => {
    const sent = group;
    group = [];
    if (sent.length > 0 && !signal.aborted) send(sent);
  };
  const isFull = () => unseen.length >= windowBatchesMax || unseenBytes >= windowBytesMax;
  const proceed = () => {
    wake?.();
    wake = undefined;
  };
  signal.addEventListener("abort", proceed, { once: true });

  return {
    async take(batch) {
      if (group.length === 0) setImmediate(flush);
      group.push(batch);
      const bytes = bytesOf(batch);
      unseen.push(bytes);
      unseenBytes += bytes;
      while (isFull() && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    credit(batches) {
      for (const bytes of unseen.slice(0, batches)) unseenBytes -= bytes;
      unseen = unseen.slice(batches);
      if (!isFull()) proceed();
    },
  };
}

function bytesOf(batch: WatchBatch): number {
  let bytes = 0;
  for (const event of batch.events) {
    bytes += 256 + (event.previous?.value.byteLength ?? 0);
    if (event.type === "put") bytes += event.keyValue.value.byteLength;
  }
  return bytes;
}

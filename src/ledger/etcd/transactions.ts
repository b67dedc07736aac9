/**
 * Transactions: sent until one member answers, applied at most once (slots.ts). An outcome is
 * `unknown` only when the time ends, or the caller gives up, while an attempt may have been applied.
 */
import { createBackoff, type Backoff } from "../../lib/backoff.ts";
import { checkTransaction, leaseNotFound, unavailable } from "../checks.ts";
import type { Ledger, Operation, Revision, TransactionOutcome } from "../ledger.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import { contractError, type Core } from "./core.ts";
import { deleteWhenFull, isFull, markedAt } from "./full.ts";
import { answerOf, leaseNumber, prepare, requestFor, type Mark, type Prepared } from "./prepare.ts";
import type { Slot, Slots } from "./slots.ts";

/** Time for looking whether it was applied, even where the caller's is over. */
const checkMs = 500;

const unknown = (cause: Error): TransactionOutcome => ({ state: "unknown", cause });

export function createTransactions(core: Core, slots: Slots): Ledger["transact"] {
  const { clock, random } = core.deps;
  const instance = random.bytes(8);
  let sent = 0;

  /** Unique for ever: of this process, and of this transaction in it. */
  const newId = (): Uint8Array => {
    const id = new Uint8Array(16);
    id.set(instance);
    new DataView(id.buffer).setFloat64(8, ++sent);
    return id;
  };

  /** What became of a transaction to which a member said that it is full. */
  const whenFull = async (
    prepared: Prepared,
    mark: Mark,
    options: {
      untilMs: number;
      signal: AbortSignal | undefined;
      doubt: Error | undefined;
      reason: unknown;
    },
  ): Promise<TransactionOutcome> => {
    const { doubt, reason, signal, untilMs } = options;
    const timeoutMs = Math.max(checkMs, untilMs - clock.monotonicMs());
    try {
      const at = await markedAt(core, mark, timeoutMs);
      if (at !== undefined)
        return { state: "done", revision: (at + core.history().base) as Revision };
    } catch (error) {
      return unknown(doubt ?? asError(error));
    }
    if (doubt) return unknown(doubt);
    if (prepared.kind !== "deletes") throw reason;
    try {
      return await deleteWhenFull(core, prepared, { timeoutMs, signal });
    } catch (error) {
      if (signal?.aborted) return unknown(asError(signal.reason));
      throw contractError(error);
    }
  };

  const run = async (
    prepared: Prepared,
    slot: Slot | undefined,
    options: { untilMs: number; signal: AbortSignal | undefined; lease: string | undefined },
  ): Promise<TransactionOutcome> => {
    const { untilMs, signal } = options;
    const id = newId();
    let backoff: Backoff | undefined;
    /** Why an earlier attempt may have been applied, or may yet be. */
    let doubt: Error | undefined;
    for (let attempt = 0; ; attempt++) {
      const history = core.history();
      const mark: Mark | undefined = slot && { slot, id, fence: doubt !== undefined };
      const leftMs = untilMs - clock.monotonicMs();
      try {
        const response = await core.client.attempt(wire.txn, requestFor(prepared, history, mark), {
          timeoutMs: Math.max(1, core.client.attemptMs(attempt, leftMs)),
          signal,
        });
        core.note(response.header);
        const answer = answerOf(prepared, history, response, mark);
        switch (answer.state) {
          case "done":
            if (slot && answer.marked) slot.modRevision = answer.revision;
            return { state: "done", revision: (answer.revision + history.base) as Revision };
          case "refused": {
            if (slot && answer.fenced) slot.modRevision = answer.revision;
            const revision = (answer.revision + history.base) as Revision;
            return { state: "refused", revision, current: answer.current };
          }
          case "foreign-mark":
            // What wrote there may have written over this transaction's mark.
            if (doubt) return unknown(doubt);
            if (slot) slot.modRevision = answer.modRevision;
            continue;
          case "rewritten":
            if (doubt) return unknown(doubt);
            await core.verify();
            break;
        }
      } catch (error) {
        if (signal?.aborted) return unknown(doubt ?? asError(signal.reason));
        if (!(error instanceof EtcdFailure)) {
          if (doubt) return unknown(doubt);
          throw error;
        }
        const reason = contractError(error, { lease: options.lease });
        if (error.kind === "refused") {
          if (mark && isFull(error))
            return await whenFull(prepared, mark, { ...options, doubt, reason });
          if (doubt) return unknown(doubt);
          throw reason;
        }
        if (error.kind === "unknown" && mark) doubt ??= error;
        if (clock.monotonicMs() >= untilMs) {
          if (doubt) return unknown(doubt);
          throw reason;
        }
      }
      backoff ??= createBackoff(core.deps, { initialMs: 20, maxMs: 250 });
      const pauseMs = backoff.nextMs();
      if (clock.monotonicMs() + pauseMs >= untilMs && doubt) return unknown(doubt);
      try {
        await clock.sleep(pauseMs, { signal });
      } catch (error) {
        return unknown(doubt ?? asError(error));
      }
    }
  };

  return async (when, then, { timeoutMs = core.timeoutMs, signal } = {}) => {
    core.assertOpen();
    checkTransaction(when, then);
    signal?.throwIfAborted();
    const leases = leasesOf(then);
    for (const lease of leases) if (leaseNumber(lease) === undefined) throw leaseNotFound(lease);
    const prepared = prepare(when, then);
    const untilMs = clock.monotonicMs() + timeoutMs;
    const options = { untilMs, signal, lease: leases[0] };
    if (prepared.kind === "reads") return await run(prepared, undefined, options);
    const slot = await slots.take(signal);
    try {
      if (clock.monotonicMs() >= untilMs)
        throw unavailable(`no place for the transaction within ${timeoutMs} ms`);
      return await run(prepared, slot, options);
    } finally {
      slots.give(slot);
    }
  };
}

function leasesOf(operations: readonly Operation[]): string[] {
  const leases: string[] = [];
  for (const operation of operations)
    if (operation.type === "put" && operation.lease !== undefined) leases.push(operation.lease);
  return leases;
}

const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error(String(reason));

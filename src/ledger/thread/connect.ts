/**
 * The user's side: a `Ledger` whose owner is another thread. Elections are fought here, so that a
 * leader learns of its loss by its own clock even when the owner's thread stands still.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { decodeError, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { createCampaigns } from "../campaign.ts";
import { checkPrefix, checkTransaction, unavailable } from "../checks.ts";
import type { Ledger, Operation, TransactionOutcome } from "../ledger.ts";
import type { LedgerThread } from "./protocol.ts";
import { createIncoming } from "./watches.ts";

/**
 * Resolves when the owner has answered. A thread that ends makes writes that wait `unknown`, reads
 * and watches throw `ledger-unavailable`. `close` closes the ledger in its thread, not the thread.
 */
export async function connectLedger(
  thread: LedgerThread,
  deps: { clock: Clock; random: Random; log: Log },
): Promise<Ledger> {
  const { clock } = deps;
  const incoming = createIncoming(thread);
  const epoch = await thread.call("ledger.epoch", undefined).catch(lost);
  let nextCall = 1;
  let closing: Promise<void> | undefined;

  const assertOpen = () => {
    if (closing) throw unavailable("the ledger is closed");
  };

  /** Reads end with the caller's signal or time, whatever the owner does. */
  const limited = async <T>(
    answer: Promise<T>,
    { timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<T> => {
    if (timeoutMs === undefined && signal === undefined) return await answer;
    const gaveUp = givenUp(clock, { timeoutMs, signal });
    try {
      return await Promise.race([answer, gaveUp.rejects]);
    } finally {
      gaveUp.done();
    }
  };

  const transact: Ledger["transact"] = async (when, then, { timeoutMs, signal } = {}) => {
    assertOpen();
    checkTransaction(when, then);
    signal?.throwIfAborted();
    const call = nextCall++;
    const answer = thread
      .call("ledger.transact", { call, conditions: when, operations: then.map(compact), timeoutMs })
      .then(
        (outcome): TransactionOutcome =>
          outcome.state === "unknown"
            ? { state: "unknown", cause: decodeError(outcome.cause) }
            : outcome,
        (error: unknown): TransactionOutcome => {
          if (isCode(error, "thread-ended")) return { state: "unknown", cause: error };
          throw error;
        },
      );
    if (timeoutMs === undefined && signal === undefined) return await answer;
    const gaveUp = givenUp(clock, { timeoutMs, signal });
    const late = gaveUp.rejects.catch((cause: unknown): TransactionOutcome => {
      thread.call("ledger.cancel", call).catch((error: unknown) => {
        deps.log.debug("transaction not cancelled", { error });
      });
      return { state: "unknown", cause: cause instanceof Error ? cause : new Error(String(cause)) };
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      gaveUp.done();
    }
  };

  const ledger: Omit<Ledger, "campaign"> = {
    epoch,
    async get(key, { atRevision, stale, timeoutMs, signal } = {}) {
      assertOpen();
      signal?.throwIfAborted();
      const answer = thread.call("ledger.get", { key, atRevision, stale }).catch(lost);
      return await limited(answer, { timeoutMs, signal });
    },
    async list(prefix, { atRevision, stale, limit, after, timeoutMs, signal } = {}) {
      assertOpen();
      signal?.throwIfAborted();
      const argument = { prefix, atRevision, stale, limit, after };
      return await limited(thread.call("ledger.list", argument).catch(lost), { timeoutMs, signal });
    },
    transact,
    watch(prefix, { after, signal } = {}) {
      checkPrefix(prefix);
      return incoming.open({ prefix, after, signal });
    },
    async grant(ttlMs) {
      assertOpen();
      return await thread.call("ledger.grant", ttlMs).catch(lost);
    },
    async renew(lease) {
      assertOpen();
      return await thread.call("ledger.renew", lease).catch(lost);
    },
    async revoke(lease) {
      assertOpen();
      await thread.call("ledger.revoke", lease).catch(lost);
    },
    async compact(revision) {
      assertOpen();
      await thread.call("ledger.compact", revision).catch(lost);
    },
    async snapshot(path) {
      assertOpen();
      return await thread.call("ledger.snapshot", path).catch(lost);
    },
    async status() {
      assertOpen();
      return await thread.call("ledger.status", undefined).catch(lost);
    },
    close() {
      closing ??= (async () => {
        incoming.close();
        await thread.call("ledger.close", undefined).catch((error: unknown) => {
          // A thread that has ended holds no ledger any more: what was asked for is done.
          if (!isCode(error, "thread-ended")) throw error;
        });
      })();
      return closing;
    },
  };
  return { ...ledger, campaign: createCampaigns(deps, ledger) };
}

const isCode = (error: unknown, code: string): error is SkerryError =>
  error instanceof SkerryError && error.code === code;

function lost(error: unknown): never {
  if (isCode(error, "thread-ended"))
    throw unavailable("the thread that holds the ledger has ended", error);
  throw error;
}

/** A view into a larger buffer would be cloned with the whole of it: 8 KiB for a pooled Buffer. */
function compact(operation: Operation): Operation {
  if (operation.type === "delete") return operation;
  const { value } = operation;
  if (value.byteLength === value.buffer.byteLength) return operation;
  return { ...operation, value: new Uint8Array(value) };
}

function givenUp(
  clock: Clock,
  { timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal },
): { rejects: Promise<never>; done: () => void } {
  const limit = deadline(clock, timeoutMs ?? 2 ** 31 - 1, {
    parent: signal,
    reason: () => unavailable(`no answer within ${timeoutMs} ms`),
  });
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(limit.signal.reason);
  if (limit.signal.aborted) onAbort();
  limit.signal.addEventListener("abort", onAbort, { once: true });
  return {
    rejects: promise,
    done() {
      limit.signal.removeEventListener("abort", onAbort);
      limit.done();
    },
  };
}

/**
 * A ledger that fails as told, by wrapping the contract. Works over any engine; what it does to a
 * call is decided per call by a function, so that a test, or a seed, is in charge.
 */
import { SkerryError } from "../../src/lib/errors.ts";
import type { Ledger, Operation, TransactionOutcome, WatchBatch } from "../../src/ledger/index.ts";

export type TransactFault =
  /** Throws; nothing was applied. */
  | { readonly state: "refuse"; readonly error: Error }
  /** The answer is lost after the write was applied. */
  | { readonly state: "lose-answer" }
  /** The request is lost: never applied, but the caller cannot know. */
  | { readonly state: "lose-request" }
  /** The answer is lost, and the write is applied when `release` resolves. */
  | { readonly state: "apply-later"; readonly release: Promise<void> };

export type LedgerFaults = {
  /** Asked for each transaction; undefined lets it pass. */
  readonly transact?: (then: readonly Operation[]) => TransactFault | undefined;
  /** Asked before each get and list; the error is thrown. */
  readonly read?: () => Error | undefined;
  /** Asked before each renewal; the error is thrown and nothing renewed. */
  readonly renew?: () => Error | undefined;
  /** Awaited before each batch is handed over; rejecting ends the watch with that error. */
  readonly beforeBatch?: (batch: WatchBatch) => Promise<void>;
};

export const unavailableError = () =>
  new SkerryError({
    code: "ledger-unavailable",
    message: "injected fault: the ledger is not reachable",
    retryable: true,
  });

/** Fails the first call, or the first `times`, and lets all others pass. */
export function failing<T>(fault: T, times = 1): () => T | undefined {
  let left = times;
  return () => (left-- > 0 ? fault : undefined);
}

export function withFaults(ledger: Ledger, faults: LedgerFaults): Ledger {
  const readable = () => {
    const error = faults.read?.();
    if (error) throw error;
  };
  const unknown: TransactionOutcome = {
    state: "unknown",
    cause: new Error("injected fault: connection lost"),
  };
  return {
    ...ledger,
    async get(key, options) {
      readable();
      return await ledger.get(key, options);
    },
    async list(prefix, options) {
      readable();
      return await ledger.list(prefix, options);
    },
    async transact(when, then, options) {
      const fault = faults.transact?.(then);
      switch (fault?.state) {
        case undefined:
          return await ledger.transact(when, then, options);
        case "refuse":
          throw fault.error;
        case "lose-answer":
          await ledger.transact(when, then, options);
          return unknown;
        case "lose-request":
          return unknown;
        case "apply-later":
          fault.release
            .then(() => ledger.transact(when, then))
            .catch((error: unknown) => {
              // The ledger may be closed by then: "never" is one of the outcomes of unknown.
              if (!(error instanceof SkerryError && error.code === "ledger-unavailable"))
                throw error;
            });
          return unknown;
      }
    },
    async renew(lease) {
      const error = faults.renew?.();
      if (error) throw error;
      return await ledger.renew(lease);
    },
    watch(prefix, options) {
      const batches = ledger.watch(prefix, options);
      const { beforeBatch } = faults;
      return beforeBatch ? delayed(batches, beforeBatch) : batches;
    },
  };
}

async function* delayed(
  batches: AsyncIterable<WatchBatch>,
  beforeBatch: (batch: WatchBatch) => Promise<void>,
) {
  for await (const batch of batches) {
    await beforeBatch(batch);
    yield batch;
  }
}

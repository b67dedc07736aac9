/**
 * How much of the ledger each application takes, counted by following all namespaces: one listing,
 * then every change. What a write will add is reserved before it is sent, and the reservation given
 * back when the watch has passed it, so that nothing is forgotten between the two.
 */
import { isAbort, SkerryError } from "../../../lib/errors.ts";
import { createBackoff } from "../../../lib/backoff.ts";
import type { Clock, Timer } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import type { KeyValue, Ledger, LedgerEvent, Revision } from "../../ledger.ts";
import { placeOf } from "../namespace.ts";

export type Amount = {
  readonly keys: number;
  /** Of keys and values. */
  readonly bytes: number;
  readonly sessions: number;
  /** Of writes that are done once; small, and gone by themselves. */
  readonly receipts: number;
};

export interface Usage {
  /** What the ledger holds for an application, with what is reserved. Waits for the first count. */
  of(application: string, options: { signal: AbortSignal }): Promise<Amount>;
  /** `settle` with the revision of the write, `undefined` when it did not happen, or `unknown`. */
  reserve(
    application: string,
    amount: Amount,
  ): { settle(revision: number | "unknown" | undefined): void };
  close(): void;
}

/** A write whose outcome is unknown counts for as long as it may still be on its way. */
const unknownMs = 30_000;
const pageKeys = 64;
export const nothing: Amount = { keys: 0, bytes: 0, sessions: 0, receipts: 0 };

/** Counts what is below `prefix`; starts when it is first asked. */
export function createUsage(
  deps: { ledger: Pick<Ledger, "list" | "watch">; clock: Clock; random: Random; log: Log },
  prefix: string,
): Usage {
  const { ledger, clock, log } = deps;
  const stop = new AbortController();
  const reserved = new Map<string, Amount>();
  const settledLater: { revision: number; release: () => void }[] = [];
  let counted = new Map<string, Amount>();
  const unsettled = new Set<Timer>();
  let seen = 0;
  let firstCount: Promise<void> | undefined;

  const reached = (revision: number) => {
    seen = Math.max(seen, revision);
    for (let index = settledLater.length - 1; index >= 0; index--) {
      const waiting = settledLater[index];
      if (!waiting || waiting.revision > seen) continue;
      settledLater.splice(index, 1);
      waiting.release();
    }
  };

  const count = async (): Promise<Revision> => {
    const fresh = new Map<string, Amount>();
    let revision: Revision | undefined;
    for (let after: string | undefined; ;) {
      const page = await ledger.list(prefix, {
        limit: pageKeys,
        ...(after === undefined ? {} : { after }),
        ...(revision === undefined ? {} : { atRevision: revision }),
        signal: stop.signal,
      });
      revision ??= page.revision;
      for (const item of page.items) add(fresh, placeOf(item.key, prefix), weightOf(item), 1);
      after = page.items.at(-1)?.key;
      if (!page.more || after === undefined) break;
    }
    counted = fresh;
    reached(revision);
    return revision;
  };

  const follow = async (onCounted: () => void) => {
    const backoff = createBackoff(deps, { initialMs: 100, maxMs: 5000 });
    while (!stop.signal.aborted) {
      try {
        const after = await count();
        onCounted();
        for await (const batch of ledger.watch(prefix, {
          after,
          signal: stop.signal,
        })) {
          backoff.reset();
          for (const event of batch.events) apply(counted, event, prefix);
          reached(batch.revision);
        }
      } catch (error) {
        if (stop.signal.aborted || isAbort(error)) return;
        log.debug("what applications use is counted again", { error });
      }
      await clock.sleep(backoff.nextMs(), { signal: stop.signal });
    }
  };

  const start = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    follow(resolve).catch((error: unknown) => {
      if (!stop.signal.aborted)
        log.error("what applications use is not counted any more", { error });
    });
    return promise;
  };

  return {
    async of(application, { signal }) {
      firstCount ??= start();
      await orAbort(firstCount, signal);
      return sum(counted.get(application) ?? nothing, reserved.get(application) ?? nothing, 1);
    },
    reserve(application, amount) {
      reserved.set(application, sum(reserved.get(application) ?? nothing, amount, 1));
      let isHeld = true;
      const release = () => {
        if (!isHeld) return;
        isHeld = false;
        const left = sum(reserved.get(application) ?? nothing, amount, -1);
        if (isNothing(left)) reserved.delete(application);
        else reserved.set(application, left);
      };
      return {
        settle(revision) {
          if (revision === "unknown") {
            const timer = clock.after(unknownMs, () => {
              unsettled.delete(timer);
              release();
            });
            unsettled.add(timer);
          } else if (revision === undefined || revision <= seen) release();
          else settledLater.push({ revision, release });
        },
      };
    },
    close() {
      stop.abort();
      for (const timer of unsettled) timer.cancel();
    },
  };
}

const weightOf = ({ key, value }: KeyValue): number => key.length + value.byteLength;

function add(
  counted: Map<string, Amount>,
  place: ReturnType<typeof placeOf>,
  bytes: number,
  sign: 1 | -1,
): void {
  if (!place) return;
  const amount = amountOf(place.kind, bytes);
  const left = sum(counted.get(place.application) ?? nothing, amount, sign);
  if (isNothing({ ...left, bytes: 0 })) counted.delete(place.application);
  else counted.set(place.application, left);
}

function apply(counted: Map<string, Amount>, event: LedgerEvent, prefix: string): void {
  const change = (keyValue: KeyValue, sign: 1 | -1) =>
    add(counted, placeOf(keyValue.key, prefix), weightOf(keyValue), sign);
  if (event.previous) change(event.previous, -1);
  if (event.type === "put") change(event.keyValue, 1);
}

const sum = (left: Amount, right: Amount, sign: 1 | -1): Amount => ({
  keys: left.keys + sign * right.keys,
  bytes: left.bytes + sign * right.bytes,
  sessions: left.sessions + sign * right.sessions,
  receipts: left.receipts + sign * right.receipts,
});

const isNothing = (amount: Amount): boolean => Object.values(amount).every((each) => each === 0);

function amountOf(kind: "key" | "session" | "receipt", bytes: number): Amount {
  switch (kind) {
    case "key":
      return { ...nothing, keys: 1, bytes };
    case "session":
      return { ...nothing, sessions: 1 };
    case "receipt":
      return { ...nothing, receipts: 1 };
  }
}

async function orAbort(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () =>
    reject(
      new SkerryError({
        code: "ledger-unavailable",
        message: "the ledger has not told yet what this application uses",
        hint: "the call changed nothing; try again",
        retryable: true,
        cause: signal.reason,
      }),
    );
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

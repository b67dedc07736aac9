/**
 * A ledger in front of whichever engine holds now. Callers keep it for their whole life: while no
 * engine is open every call is refused, while the cell changes its engine writes wait, and afterwards
 * watches end with `compacted`, so that everybody lists again from the new history. No write is
 * acknowledged by an engine that is being left.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { checkPrefix, unavailable } from "../checks.ts";
import type { Campaign, Epoch, Ledger, LeaseId, Operation, WatchBatch } from "../ledger.ts";

/** What a move answers: the engine that holds from now on, and its leases by the old ones' names. */
export type Moved = {
  readonly ledger: Ledger;
  readonly leases: ReadonlyMap<LeaseId, LeaseId>;
};

export interface SwitchingLedger extends Ledger {
  /** Undefined while none is open. */
  readonly engine: Ledger | undefined;
  /** Puts an engine in place where there is none, or instead of one that shares its history. */
  open(engine: Ledger): void;
  /** Called when an engine has opened, or another holds. Returns the unsubscriber. */
  onChange(listener: () => void): () => void;
  /**
   * Holds writes, waits for those under way, and goes on with what `move` answers; the old engine is
   * closed then. When `move` throws, everybody goes on with the old one. With `fatal` true its error
   * means that nobody knows which engine is the true one: nothing is answered any more until the agent
   * has started again. The signal aborts after `holdMsMax`. Throws what `move` throws.
   */
  switchOver(
    move: (from: Ledger, options: { signal: AbortSignal }) => Promise<Moved>,
    options: { holdMsMax: number; isFatal?: (error: unknown) => boolean },
  ): Promise<void>;
}

type Place = {
  readonly ledger: Ledger;
  /** Aborts when another engine holds. */
  readonly left: AbortController;
};

export function createSwitchingLedger(
  deps: { clock: Clock; log: Log },
  options: {
    /** Of the history on this server's disk, until an engine is open. */
    readonly epoch: Epoch;
    /** Thrown by every call while no engine is open. */
    readonly absent: () => Error;
    /** How long a write waits for a change of engines to end. Default 30 s. */
    readonly waitMsMax?: number;
  },
): SwitchingLedger {
  const { clock } = deps;
  const log = deps.log.child({ room: "ledger" });
  const waitMsMax = options.waitMsMax ?? 30_000;
  let place: Place | undefined;
  let lastEpoch = options.epoch;
  let held: PromiseWithResolvers<void> | undefined;
  let closing: Promise<void> | undefined;
  let newLeases: ReadonlyMap<LeaseId, LeaseId> = new Map();
  const underWay = new Set<Promise<unknown>>();
  const listeners = new Set<() => void>();

  const here = (): Place => {
    if (closing) throw unavailable("the ledger is closed");
    if (!place) throw options.absent();
    return place;
  };
  const leaseOf = (lease: LeaseId) => newLeases.get(lease) ?? lease;

  /** Runs on the engine that holds when its turn has come; nothing was sent when it throws before. */
  const write = async <T>(
    work: (ledger: Ledger) => Promise<T>,
    signal: AbortSignal | undefined,
    timeoutMs = waitMsMax,
  ): Promise<T> => {
    if (held) await turn(held.promise, signal, Math.min(timeoutMs, waitMsMax));
    const running = work(here().ledger);
    underWay.add(running);
    try {
      return await running;
    } finally {
      underWay.delete(running);
    }
  };

  const turn = async (free: Promise<void>, signal: AbortSignal | undefined, limitMs: number) => {
    const limit = deadline(clock, limitMs, {
      ...(signal ? { parent: signal } : {}),
      reason: () => unavailable("the ledger is moving to another engine"),
    });
    const gaveUp = Promise.withResolvers<never>();
    const onAbort = () => gaveUp.reject(limit.signal.reason);
    if (limit.signal.aborted) onAbort();
    limit.signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([free, gaveUp.promise]);
    } finally {
      limit.signal.removeEventListener("abort", onAbort);
      limit.done();
    }
  };

  const take = (ledger: Ledger) => {
    const next = { ledger, left: new AbortController() };
    const before = place;
    place = next;
    lastEpoch = ledger.epoch;
    before?.left.abort();
    for (const listener of [...listeners]) listener();
  };

  const closeLeft = async ({ ledger }: Place) =>
    await ledger
      .close()
      .catch((error: unknown) => log.warn("the engine that was left did not close", { error }));

  async function* follow(
    { left }: Place,
    batches: AsyncIterable<WatchBatch>,
    signal: AbortSignal | undefined,
    done: () => void,
  ): AsyncIterable<WatchBatch> {
    try {
      yield* batches;
    } finally {
      done();
    }
    if (left.signal.aborted && !signal?.aborted) throw place ? hasMoved() : options.absent();
  }

  /** Leadership ends with the engine that proved it. */
  const campaign: Ledger["campaign"] = async (name, given) => {
    for (;;) {
      given.signal?.throwIfAborted();
      if (!place) await opening(given.signal);
      const { ledger, left } = here();
      const stop = both(given.signal, left.signal);
      try {
        return endingWith(
          await ledger.campaign(name, { ...given, signal: stop.signal }),
          left.signal,
        );
      } catch (error) {
        if (!left.signal.aborted || !(isAbort(error) || stop.signal.aborted)) throw error;
      } finally {
        stop.done();
      }
    }
  };

  /** Nobody can be elected before; who stands waits for it as for his turn. */
  const opening = (signal: AbortSignal | undefined) =>
    new Promise<void>((resolve, reject) => {
      const done = (end: () => void) => {
        listeners.delete(onOpen);
        signal?.removeEventListener("abort", onAbort);
        end();
      };
      const onOpen = () => done(resolve);
      const onAbort = () => done(() => reject(signal?.reason));
      listeners.add(onOpen);
      signal?.addEventListener("abort", onAbort, { once: true });
    });

  const endingWith = (won: Campaign, left: AbortSignal): Campaign => {
    const stop = () =>
      // Its key was not taken over, and its lease is nobody's any more: only its timers end here.
      void won.resign().catch((error: unknown) => log.debug("not resigned", { error }));
    left.addEventListener("abort", stop, { once: true });
    if (left.aborted) stop();
    won.lost.addEventListener("abort", () => left.removeEventListener("abort", stop));
    return { ...won, lost: AbortSignal.any([won.lost, left]) };
  };

  return {
    get epoch() {
      return place?.ledger.epoch ?? lastEpoch;
    },
    get engine() {
      return place?.ledger;
    },
    get: async (key, given) => await here().ledger.get(key, given),
    list: async (prefix, given) => await here().ledger.list(prefix, given),
    transact: (when, then, given = {}) =>
      write(
        (ledger) => ledger.transact(when, newLeases.size === 0 ? then : then.map(renamed), given),
        given.signal,
        given.timeoutMs,
      ),
    watch(prefix, given = {}) {
      checkPrefix(prefix);
      let from: Place;
      try {
        from = here();
      } catch (error) {
        return failing(error);
      }
      const { signal } = given;
      const stop = both(signal, from.left.signal);
      // Asked at once: what is written from this call on is seen.
      const batches = from.ledger.watch(prefix, { ...given, signal: stop.signal });
      return follow(from, batches, signal, stop.done);
    },
    grant: (ttlMs) => write((ledger) => ledger.grant(ttlMs), undefined),
    renew: async (lease) => await here().ledger.renew(leaseOf(lease)),
    revoke: (lease) => write((ledger) => ledger.revoke(leaseOf(lease)), undefined),
    campaign,
    compact: (revision) => write((ledger) => ledger.compact(revision), undefined),
    snapshot: async (path) => await here().ledger.snapshot(path),
    status: async () => await here().ledger.status(),
    close() {
      closing ??= (async () => {
        for (const listener of [...listeners]) listener();
        const last = place;
        if (!last) return;
        await last.ledger.close();
      })();
      return closing;
    },

    open: take,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },

    async switchOver(move, { holdMsMax, isFatal }) {
      const from = here();
      if (held) throw unavailable("the ledger is moving to another engine already");
      const mine = Promise.withResolvers<void>();
      held = mine;
      const limit = deadline(clock, holdMsMax, {
        reason: () => unavailable(`the ledger did not move within ${holdMsMax} ms`),
      });
      try {
        // Their outcome is their callers'; here it matters only that they have one.
        await turn(
          Promise.allSettled(underWay).then(() => undefined),
          limit.signal,
          holdMsMax,
        );
        const moved = await move(from.ledger, { signal: limit.signal });
        newLeases = new Map([
          ...[...newLeases].map(([old, now]) => [old, moved.leases.get(now) ?? now] as const),
          ...moved.leases,
        ]);
        take(moved.ledger);
        await closeLeft(from);
      } catch (error) {
        if (isFatal?.(error) && place === from) {
          place = undefined;
          from.left.abort();
          await closeLeft(from);
        }
        throw error;
      } finally {
        limit.done();
        held = undefined;
        mine.resolve();
      }
    },
  };

  function renamed(operation: Operation): Operation {
    return operation.type === "put" && operation.lease !== undefined
      ? { ...operation, lease: leaseOf(operation.lease) }
      : operation;
  }
}

const hasMoved = () =>
  new SkerryError({
    code: "compacted",
    message: "the ledger has moved to another engine, and history begins anew there",
    hint: "list again and watch from the revision of that list",
  });

/** A watch's failures come from its iteration. */
const failing = (error: unknown): AsyncIterable<never> => ({
  [Symbol.asyncIterator]: () => ({
    async next() {
      throw error;
    },
  }),
});

/** Aborts with either; `done` lets go of both. */
function both(
  one: AbortSignal | undefined,
  other: AbortSignal,
): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const signals = one ? [one, other] : [other];
  const forward = (event: Event) => controller.abort((event.target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener("abort", forward, { once: true });
  }
  return {
    signal: controller.signal,
    done() {
      for (const signal of signals) signal.removeEventListener("abort", forward);
    },
  };
}

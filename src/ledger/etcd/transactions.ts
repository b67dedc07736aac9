/**
 * Transactions. One that comes while few are under way goes at once, by itself; those that come while
 * many are wait until one of these ends, and then go together (shared.ts): the busier the ledger is, the
 * less each of them costs it.
 */
import { checkTransaction, leaseNotFound, unavailable } from "../checks.ts";
import type { Ledger, TransactionOutcome } from "../ledger.ts";
import { aloneWork } from "./alone.ts";
import { asError, createSend, type WorkTime } from "./attempts.ts";
import type { Core } from "./core.ts";
import { leaseNumber, prepare, type Prepared } from "./prepare.ts";
import { shareWork } from "./shared.ts";
import type { Slots } from "./slots.ts";
import { takeTogether, type Waiting } from "./together.ts";

/**
 * While so many are under way, others wait for each other. Of 2, 4 and 8 the one that costs nobody time
 * with four callers and gives most with sixteen and more.
 */
const underWayMax = 4;
/**
 * For longer than this nobody waits for those under way: sent to a leader that is gone, they are over only
 * when their own time is, and whoever comes after the next leader would wait for them as well.
 */
const heldUpMs = 100;
const waitingMax = 10_000;

type Waiter = Waiting & {
  readonly prepared: Prepared;
  readonly time: WorkTime;
  /** From now on its outcome is unknown until it is told. */
  start(): void;
  /** Whoever waited has given up. */
  isGone(): boolean;
  end(outcome: Promise<TransactionOutcome>): void;
};

export function createTransactions(core: Core, slots: Slots): Ledger["transact"] {
  const { clock } = core.deps;
  const send = createSend(core);
  const waiting: Waiter[] = [];
  let underWay = 0;

  const alone = async (prepared: Prepared, time: WorkTime): Promise<TransactionOutcome> => {
    const work = aloneWork(core, prepared);
    if (prepared.kind === "reads") return await send(work, undefined, time);
    const slot = await slots.take(time.signal);
    try {
      if (clock.monotonicMs() >= time.untilMs) throw noPlace();
      return await send(work, slot, time);
    } finally {
      slots.give(slot);
    }
  };

  const together = async (waiters: readonly Waiter[]): Promise<void> => {
    const untilMs = Math.max(...waiters.map(({ time }) => time.untilMs));
    const work = shareWork(
      core,
      waiters.map(({ prepared }) => prepared),
    );
    for (const waiter of waiters) waiter.start();
    const slot = await slots.take();
    try {
      const outcomes = await send(work, slot, { untilMs, signal: undefined });
      for (const [index, waiter] of waiters.entries()) {
        const outcome = outcomes === "apart" ? undefined : outcomes[index];
        if (!waiter.isGone())
          waiter.end(outcome ? Promise.resolve(outcome) : alone(waiter.prepared, waiter.time));
      }
    } catch (error) {
      for (const waiter of waiters)
        if (!waiter.isGone()) waiter.end(Promise.reject(asError(error)));
    } finally {
      slots.give(slot);
    }
  };

  const counted = async <T>(work: Promise<T>): Promise<T> => {
    underWay += 1;
    let holdsUp = true;
    const letGo = () => {
      if (!holdsUp) return;
      holdsUp = false;
      underWay -= 1;
      next();
    };
    const timer = clock.after(heldUpMs, letGo);
    try {
      return await work;
    } finally {
      timer.cancel();
      letGo();
    }
  };

  const next = () => {
    if (underWay >= underWayMax || waiting.length === 0) return;
    const taken = takeTogether(waiting);
    const [only] = taken;
    if (only && taken.length === 1) only.end(counted(alone(only.prepared, only.time)));
    else void counted(together(taken));
    next();
  };

  const wait = (prepared: Prepared, time: WorkTime) =>
    new Promise<TransactionOutcome>((resolve, reject) => {
      let state: "waiting" | "sent" | "ended" = "waiting";
      const giveUp = (reason: Error) => {
        const before = state;
        stop();
        if (before === "sent") return resolve({ state: "unknown", cause: reason });
        waiting.splice(waiting.indexOf(waiter), 1);
        reject(reason);
      };
      const onAbort = () => giveUp(asError(time.signal?.reason));
      const timer = clock.after(time.untilMs - clock.monotonicMs(), () => giveUp(noPlace()));
      const stop = () => {
        state = "ended";
        timer.cancel();
        time.signal?.removeEventListener("abort", onAbort);
      };
      time.signal?.addEventListener("abort", onAbort, { once: true });
      const waiter: Waiter = {
        ...{ prepared, time },
        changed: prepared.changed,
        looked: prepared.when.map(({ key }) => key),
        operations: prepared.operations.length,
        bytes: prepared.operations.reduce((sum, { bytes }) => sum + bytes.length, 0),
        start: () => void (state = "sent"),
        isGone: () => state === "ended",
        end(outcome) {
          stop();
          resolve(outcome);
        },
      };
      waiting.push(waiter);
    });

  return async (when, then, { timeoutMs = core.timeoutMs, signal } = {}) => {
    core.assertOpen();
    checkTransaction(when, then);
    signal?.throwIfAborted();
    const prepared = prepare(when, then);
    const { leases } = prepared;
    for (const lease of leases) if (leaseNumber(lease) === undefined) throw leaseNotFound(lease);
    const time = { untilMs: clock.monotonicMs() + timeoutMs, signal };
    // A lease that is gone refuses all of etcd's transaction; deletions of nothing must make no revision.
    if (prepared.kind !== "writes" || leases.length > 0) return await alone(prepared, time);
    if (underWay < underWayMax) return await counted(alone(prepared, time));
    if (waiting.length >= waitingMax)
      throw unavailable(`${waitingMax} transactions wait for the ledger already`);
    return await wait(prepared, time);
  };
}

const noPlace = () =>
  unavailable("the ledger did not take the transaction in time: others were under way");

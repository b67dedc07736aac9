/**
 * Watches pull: each holds the revision it has seen and reads on from there, so that a slow one costs
 * nothing and holds up nobody. They are woken by this process's own writes at once, by those of others
 * as soon as one look for all of them, every `pollMs`, finds the revision changed.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { every, type Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { checkPrefix, compacted } from "../checks.ts";
import type { Ledger, Revision, WatchBatch } from "../ledger.ts";
import type { Core } from "./core.ts";
import type { Reads } from "./reads.ts";

export function createWatches(
  core: Core,
  reads: Reads,
  options: { pollMs: number; bookmarkMs: number },
): Ledger["watch"] {
  const { clock, log } = core.deps;
  const look = createLook(core, reads, options.pollMs);
  const bookmarkAfterMs = (nowMs: number) =>
    nowMs + (clock.untilNext?.(options.bookmarkMs) ?? options.bookmarkMs);

  /** However long PostgreSQL is away; undefined when the watch has to end. */
  const read = async <T>(
    signal: AbortSignal | undefined,
    work: (asked: { signal?: AbortSignal }) => Promise<T>,
  ): Promise<T | undefined> => {
    const backoff = createBackoff(core.deps, { initialMs: 50, maxMs: 1000 });
    const asked = signal ? { signal } : {};
    while (!isAborted(signal)) {
      core.closed.throwIfAborted();
      try {
        return await work(asked);
      } catch (error) {
        if (isAborted(signal)) return undefined;
        core.closed.throwIfAborted();
        if (!(error instanceof SkerryError && error.retryable)) throw error;
        log.debug("a watch waits for PostgreSQL", { error });
        await clock.sleep(backoff.nextMs(), asked).catch(() => {});
      }
    }
    return undefined;
  };

  /** Resolves when more was written, the time is over, or the watch has to end. */
  const pause = (timeoutMs: number, signal: AbortSignal | undefined) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        timer.cancel();
        off();
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const timer = clock.after(timeoutMs, wake);
      const off = core.onSeen(wake);
      signal?.addEventListener("abort", wake, { once: true });
    });

  async function* follow(
    prefix: string,
    start: Revision,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchBatch> {
    let seen = start;
    let told = start;
    let isRunning = false;
    let bookmarkDueMs = bookmarkAfterMs(clock.monotonicMs());
    for (;;) {
      const page = await read(signal, (asked) => reads.batches(prefix, seen, asked)).catch(
        (error: unknown) => {
          throw isRunning ? lostOr(error, seen) : error;
        },
      );
      if (!page) return;
      isRunning = true;
      for (const batch of page.batches) {
        told = batch.revision;
        yield batch;
        if (isAborted(signal)) return;
      }
      seen = page.upTo;
      const nowMs = clock.monotonicMs();
      if (nowMs >= bookmarkDueMs) {
        bookmarkDueMs = bookmarkAfterMs(nowMs);
        if (seen > told) yield { revision: seen, events: [] };
        told = seen;
      }
      while (seen === core.seen() && !isAborted(signal) && !core.closed.aborted) {
        const waitMs = bookmarkDueMs - clock.monotonicMs();
        if (waitMs <= 0) break;
        await pause(waitMs, signal);
      }
    }
  }

  /** What is in history between what was known at the call and now. */
  const startOf = async (known: Revision, signal: AbortSignal | undefined) => {
    const state = await read(signal, (asked) => reads.state(asked));
    return state && (Math.min(Math.max(known, state.compacted), state.revision) as Revision);
  };

  async function* watch(
    prefix: string,
    from: { after: Revision | undefined; known: Revision },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<WatchBatch> {
    if (isAborted(signal)) return;
    core.assertOpen();
    look.begin();
    try {
      const start = from.after ?? (await startOf(from.known, signal));
      if (start !== undefined) yield* follow(prefix, start, signal);
    } finally {
      look.end();
    }
  }

  return (prefix, { after, signal } = {}) => {
    checkPrefix(prefix);
    // Known at the call: what is written after it is delivered, however late the first pull is.
    return watch(prefix, { after, known: core.seen() }, signal);
  };
}

const isAborted = (signal: AbortSignal | undefined) => signal?.aborted ?? false;

/** A watch that was ahead of what PostgreSQL has now: its reader has to list again. */
const lostOr = (error: unknown, seen: Revision): unknown =>
  error instanceof SkerryError && error.code === "future-revision"
    ? compacted(seen, (error.details?.["revision"] ?? 0) as Revision)
    : error;

/** One look for all watches, while there are any. */
function createLook(core: Core, reads: Reads, pollMs: number): { begin(): void; end(): void } {
  let watching = 0;
  let timer: Timer | undefined;
  const look = async () => {
    // A watch that nobody reads any more has not ended.
    if (core.closed.aborted) timer?.cancel();
    else await reads.state();
  };
  return {
    begin() {
      if (watching++ > 0) return;
      timer = every(core.deps.clock, pollMs, look, (error) =>
        core.deps.log.debug("watches wait for PostgreSQL", { error }),
      );
    },
    end() {
      if (--watching === 0) timer?.cancel();
    },
  };
}

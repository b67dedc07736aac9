/**
 * A work queue of keys and the workers that reconcile them. A key waits once, however often it is
 * added; a key that is being reconciled is not started a second time but runs again afterwards.
 * Failures come back with backoff per key, unless they are terminal: these wait for the next change.
 */
import { createBackoff, type Backoff } from "../../lib/backoff.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";

export type Reconcile = (
  key: string,
  signal: AbortSignal,
) => Promise<{ againMs?: number } | undefined | void>;

export interface Loop {
  add(key: string): void;
  /** At most one delayed visit waits per key: the earliest. */
  addAfter(key: string, delayMs: number): void;
  start(): void;
  /** Resolves when what runs has ended. */
  stop(): Promise<void>;
  /** Keys waiting or running. */
  readonly busy: number;
}

export type LoopOptions = { readonly name: string; readonly workers?: number };

export function createLoop(
  deps: { clock: Clock; random: Random; log: Log },
  reconcile: Reconcile,
  options: LoopOptions,
): Loop {
  const { clock, log } = deps;
  const workers = options.workers ?? 2;
  const waiting = new Set<string>();
  const running = new Map<string, Promise<void>>();
  const again = new Set<string>();
  const delayed = new Map<string, { timer: Timer; dueMs: number }>();
  const backoffs = new Map<string, Backoff>();
  const abort = new AbortController();
  let started = false;

  const pump = () => {
    if (!started || abort.signal.aborted) return;
    for (const key of waiting) {
      if (running.size >= workers) return;
      waiting.delete(key);
      running.set(
        key,
        visit(key).finally(() => finish(key)),
      );
    }
  };

  const finish = (key: string) => {
    running.delete(key);
    if (again.delete(key)) waiting.add(key);
    pump();
  };

  const visit = async (key: string) => {
    try {
      const result = await reconcile(key, abort.signal);
      backoffs.delete(key);
      if (result?.againMs !== undefined) addAfter(key, result.againMs);
    } catch (error) {
      if (abort.signal.aborted || isAbort(error)) return;
      if (error instanceof SkerryError && !error.retryable) {
        backoffs.delete(key);
        // Nothing is wrong with the key: whoever leads now looks at it.
        if (error.code === "leadership-lost") return;
        log.error("reconcile refused", { loop: options.name, key, error });
        return;
      }
      const backoff = backoffs.get(key) ?? createBackoff(deps, { initialMs: 20, maxMs: 30_000 });
      backoffs.set(key, backoff);
      const delayMs = backoff.nextMs();
      log.debug("reconcile failed", { loop: options.name, key, delayMs, error });
      if (backoff.attempts === 6)
        log.warn("reconcile keeps failing", { loop: options.name, key, error });
      addAfter(key, delayMs);
    }
  };

  const add = (key: string) => {
    if (abort.signal.aborted) return;
    delayed.get(key)?.timer.cancel();
    delayed.delete(key);
    if (running.has(key)) again.add(key);
    else waiting.add(key);
    pump();
  };

  const addAfter = (key: string, delayMs: number) => {
    if (abort.signal.aborted) return;
    const dueMs = clock.monotonicMs() + delayMs;
    const before = delayed.get(key);
    if (before && before.dueMs <= dueMs) return;
    before?.timer.cancel();
    const timer = clock.after(delayMs, () => {
      delayed.delete(key);
      add(key);
    });
    delayed.set(key, { timer, dueMs });
  };

  return {
    add,
    addAfter,
    start() {
      started = true;
      pump();
    },
    async stop() {
      abort.abort(new DOMException("controllers stopped", "AbortError"));
      waiting.clear();
      again.clear();
      for (const { timer } of delayed.values()) timer.cancel();
      delayed.clear();
      await Promise.all(running.values());
    },
    get busy() {
      return waiting.size + running.size;
    },
  };
}

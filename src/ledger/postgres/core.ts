/**
 * What the parts of the engine share: sessions, how a call ends, and how far history was seen. A piece
 * of work that certainly changed nothing is repeated, on another connection, until its call's time is
 * over: a PostgreSQL that restarts, or hands over to its standby, is waited for.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { isTransient, type Postgres, type Session } from "../../runtime/postgres/index.ts";
import { unavailable } from "../checks.ts";
import type { Revision } from "../ledger.ts";

export type Deps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

export type CallOptions = { readonly timeoutMs?: number; readonly signal?: AbortSignal };

export interface Core {
  readonly deps: Deps;
  readonly place: string;
  /** The newest revision that this process knows of. */
  seen(): Revision;
  /**
   * Takes note of one that was read or written. `before` was known when the reading began: less than
   * that shows that PostgreSQL came back without what it had acknowledged.
   */
  note(revision: Revision, before?: Revision): void;
  /** `listener` runs when `seen` has changed, and when the ledger is closed. Returns what ends it. */
  onSeen(listener: () => void): () => void;
  /**
   * Repeats `work` while it fails in passing, within the call's time. Throws in the contract's words;
   * what `work` throws must mean that it changed nothing.
   */
  call<T>(options: CallOptions, work: (limit: AbortSignal) => Promise<T>): Promise<T>;
  /** The repeating alone, for a part of a call that has begun. */
  persist<T>(limit: AbortSignal, work: () => Promise<T>): Promise<T>;
  /** `call` of one piece of work that may be done twice. */
  ask<T>(work: (session: Session) => Promise<T>, options?: CallOptions): Promise<T>;
  assertOpen(): void;
  readonly closed: AbortSignal;
}

/** Below the 5 s within which a write must be answered, as the etcd engine. */
const defaultTimeoutMs = 4_500;

export function createCore(
  deps: Deps,
  options: { postgres: Postgres; revision: Revision },
): Core & { close(): void } {
  const { clock, log } = deps;
  const { postgres } = options;
  const { place } = postgres;
  let seen = options.revision;
  const closed = new AbortController();
  const listeners = new Set<() => void>();

  const tell = () => {
    for (const listener of [...listeners]) listener();
  };
  const assertOpen = () => {
    if (closed.signal.aborted) throw unavailable("the ledger is closed");
  };

  const persist: Core["persist"] = async (limit, work) => {
    const backoff = createBackoff(deps, { initialMs: 20, maxMs: 500 });
    for (;;) {
      try {
        return await work();
      } catch (error) {
        assertOpen();
        if (limit.aborted || !isPassing(error)) throw contractError(error, place);
        log.debug("tried again", { place, error });
      }
      await clock.sleep(backoff.nextMs(), { signal: limit });
      assertOpen();
    }
  };

  const call: Core["call"] = async ({ timeoutMs = defaultTimeoutMs, signal }, work) => {
    assertOpen();
    signal?.throwIfAborted();
    const late = () => unavailable(`PostgreSQL at ${place} did not answer within ${timeoutMs} ms`);
    const limit = deadline(clock, timeoutMs, { reason: late, ...(signal && { parent: signal }) });
    const over = Promise.withResolvers<never>();
    const onAbort = () => over.reject(limit.signal.reason);
    limit.signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([persist(limit.signal, () => work(limit.signal)), over.promise]);
    } finally {
      limit.signal.removeEventListener("abort", onAbort);
      limit.done();
    }
  };

  return {
    deps,
    place,
    seen: () => seen,
    note(revision, before) {
      const isLost = before !== undefined && revision < before && seen >= before;
      if (isLost)
        log.error("PostgreSQL came back with an older ledger: what was written since is lost", {
          place,
          revision,
          acknowledged: before,
        });
      if (!isLost && revision <= seen) return;
      seen = revision;
      tell();
    },
    onSeen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    call,
    persist,
    ask: (work, asked = {}) => call(asked, (signal) => postgres.use(work, { signal })),
    assertOpen,
    closed: closed.signal,
    close() {
      closed.abort(unavailable("the ledger was closed"));
      tell();
    },
  };
}

/** It may go through at once, or when PostgreSQL is back. */
const isPassing = (error: unknown): boolean =>
  isTransient(error) ||
  (error instanceof SkerryError && error.retryable && error.code !== "disk-full");

const contractCodes: ReadonlySet<string> = new Set([
  "compacted",
  "future-revision",
  "ledger-unavailable",
  "disk-full",
  "lease-not-found",
]);

function contractError(error: unknown, place: string): unknown {
  const isForeign = error instanceof SkerryError && !contractCodes.has(error.code);
  return isForeign || isTransient(error)
    ? unavailable(`the ledger in PostgreSQL at ${place} cannot be used now`, error)
    : error;
}

/**
 * Forgetting history: by itself, so that the file stays small, and in small pieces between other
 * writes, so that nobody waits for it.
 */
import { every, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import { unavailable } from "../checks.ts";
import type { Revision } from "../ledger.ts";
import type { Store } from "./store.ts";

/** History is kept while it is young or among the last `revisionsMin`, but never beyond `revisionsMax`. */
export type Retention = {
  /** Default 10,000. */
  readonly revisionsMin: number;
  /** Default 5 minutes. */
  readonly ageMs: number;
  /** Default 200,000. */
  readonly revisionsMax: number;
  /** How often it is looked at. Default 10 s. */
  readonly periodMs: number;
};

const rowsPerPiece = 500;

export interface Compaction {
  /** Resolves when no row of the forgotten history is left. */
  compact(revision: Revision): Promise<void>;
  close(): void;
}

export function createCompaction(
  deps: { clock: Clock; log: Log; store: Store; writer: Writer },
  options: Partial<Retention>,
): Compaction {
  const { clock, log, store, writer } = deps;
  const retention: Retention = {
    revisionsMin: 10_000,
    ageMs: 300_000,
    revisionsMax: 200_000,
    periodMs: 10_000,
    ...options,
  };
  const closed = new AbortController();
  /** Where the ledger was at which time; the first is the oldest. */
  let samples: { atMs: number; revision: Revision }[] = [
    { atMs: clock.monotonicMs(), revision: store.state().revision },
  ];

  const compact = async (revision: Revision) => {
    await writer.write(() => {
      // Asked inside the transaction: another compaction may have come first.
      if (revision > store.state().compacted) store.setCompacted(revision);
    });
    let swept = rowsPerPiece;
    while (swept > 0 && !closed.signal.aborted)
      swept = await writer.write(() => store.sweep(rowsPerPiece));
  };

  /** The newest revision that is old enough. */
  const aged = (): number => {
    const nowMs = clock.monotonicMs();
    const old = samples.filter(({ atMs }) => nowMs - atMs >= retention.ageMs);
    const newest = old.at(-1);
    samples = [...(newest ? [newest] : []), ...samples.slice(old.length)];
    samples.push({ atMs: nowMs, revision: store.state().revision });
    return newest?.revision ?? 0;
  };

  const timer = every(
    clock,
    retention.periodMs,
    async () => {
      const { revision, compacted } = store.state();
      const target = Math.max(
        Math.min(revision - retention.revisionsMin, aged()),
        revision - retention.revisionsMax,
      );
      if (target > compacted) await compact(target as Revision);
    },
    (error) => {
      if (!closed.signal.aborted) log.error("history not compacted", { error });
    },
  );

  return {
    async compact(revision) {
      try {
        await compact(revision);
      } catch (error) {
        if (error instanceof SkerryError && error.code !== "disk-full")
          throw unavailable("the ledger takes no writes now", error);
        throw error;
      }
    },
    close() {
      closed.abort();
      timer.cancel();
    },
  };
}

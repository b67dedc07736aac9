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
import { createRetention, retentionOf, type Retention } from "../retention.ts";
import type { Store } from "./store.ts";

export type { Retention };

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
  const retention = retentionOf(options);
  const closed = new AbortController();
  const mayGo = createRetention({ clock }, { retention, revision: store.state().revision });

  const compact = async (revision: Revision) => {
    await writer.write(() => {
      // Asked inside the transaction: another compaction may have come first.
      if (revision > store.state().compacted) store.setCompacted(revision);
    });
    let swept = rowsPerPiece;
    while (swept > 0 && !closed.signal.aborted)
      swept = await writer.write(() => store.sweep(rowsPerPiece));
  };

  const timer = every(
    clock,
    retention.periodMs,
    async () => {
      const { revision, compacted } = store.state();
      const target = mayGo(revision);
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

/** The user's half of the watches: what arrives is held until it is taken, and then credited. */
import { decodeError } from "../../lib/errors.ts";
import { createQueue, type Queue } from "../../lib/queue.ts";
import { unavailable } from "../checks.ts";
import type { Revision, WatchBatch } from "../ledger.ts";
import { windowBatchesMax, type LedgerThread } from "./protocol.ts";

/** Credits go back in groups: a message for every batch would double the traffic. */
const creditEvery = 32;

export interface Incoming {
  open(range: {
    prefix: string;
    after?: Revision;
    signal?: AbortSignal;
  }): AsyncIterable<WatchBatch>;
  close(): void;
}

export function createIncoming(thread: LedgerThread): Incoming {
  const queueByWatch = new Map<number, Queue<WatchBatch>>();
  let nextWatch = 1;
  let over: Error | undefined;

  const endAll = (error: Error) => {
    over = error;
    for (const queue of queueByWatch.values()) queue.close(error);
    queueByWatch.clear();
  };
  thread.on("ledger.batches", ({ watch, batches }) => {
    const queue = queueByWatch.get(watch);
    for (const batch of batches) {
      // The owner keeps to the window, so this queue is never full; if it were, a gap must not pass.
      if (queue && !queue.push(batch)) queue.close(unavailable("the watch overran its window"));
    }
  });
  thread.on("ledger.watch-ended", ({ watch, error }) => {
    queueByWatch.get(watch)?.close(error && decodeError(error));
    queueByWatch.delete(watch);
  });
  thread.ended
    .then((error) => endAll(unavailable("the thread that holds the ledger has ended", error)))
    .catch((error: unknown) => endAll(unavailable("the thread failed", error)));

  async function* take(
    watch: number,
    queue: Queue<WatchBatch>,
    { signal, finish }: { signal: AbortSignal | undefined; finish: () => void },
  ) {
    let taken = 0;
    try {
      for await (const batch of queue) {
        if (signal?.aborted) return;
        yield batch;
        if (++taken < creditEvery) continue;
        const batches = taken;
        taken = 0;
        thread.call("ledger.watch-credit", { watch, batches }).catch((error: unknown) => {
          queue.close(error);
        });
      }
    } finally {
      finish();
    }
  }

  return {
    open({ prefix, after, signal }) {
      const watch = nextWatch++;
      const queue = createQueue<WatchBatch>({ itemsMax: windowBatchesMax * 2, onFull: "reject" });
      if (over || signal?.aborted) {
        queue.close(signal?.aborted ? undefined : over);
        return take(watch, queue, { signal, finish: () => {} });
      }
      queueByWatch.set(watch, queue);
      const finish = () => {
        signal?.removeEventListener("abort", finish);
        queue.close();
        if (!queueByWatch.delete(watch)) return;
        // A thread that has ended watches nothing any more.
        thread.call("ledger.watch-close", watch).catch(() => {});
      };
      signal?.addEventListener("abort", finish, { once: true });
      thread.call("ledger.watch-open", { watch, prefix, after }).catch((error: unknown) => {
        queue.close(error);
      });
      return take(watch, queue, { signal, finish });
    },
    close: () => endAll(unavailable("the ledger is closed")),
  };
}

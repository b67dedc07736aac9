/**
 * Watches pull: each holds the revision it has seen, and nothing is queued for it. Recent revisions
 * come from a bounded tail in memory, older ones from the file, and those that compaction passed
 * over are told `compacted`. A slow watcher therefore costs nothing and holds up nobody.
 */
import type { Clock } from "../../lib/clock.ts";
import { compacted, futureRevision, unavailable } from "../checks.ts";
import type { Revision, WatchBatch } from "../ledger.ts";
import { eventBytes, type Store } from "./store.ts";

/** Some minutes of a cell at rest, for watchers that keep up: thousands would cost a server 8 MB within half an hour. */
const tailBytesMax = 1024 * 1024;
const tailBatchesMax = 256;
const pageBytesMax = 1024 * 1024;
/** Revisions looked through at a time, so that one watch does not keep the thread for long. */
const pageRevisionsMax = 4096;

export interface Watches {
  /** Tells a committed revision; revisions come in order, each once. */
  publish(batch: WatchBatch): void;
  /**
   * From `after`, or from now. Ends without an error when `signal` is aborted; the iteration throws
   * `compacted`, `future-revision` or `ledger-unavailable`.
   */
  follow(range: {
    prefix: string;
    after?: Revision;
    signal?: AbortSignal;
  }): AsyncIterable<WatchBatch>;
  /** Every running watch throws `ledger-unavailable`. */
  close(): void;
}

export function createWatches(
  deps: { clock: Clock; store: Store },
  options: { revision: Revision; bookmarkMs: number },
): Watches {
  const { clock, store } = deps;
  const tail: WatchBatch[] = [];
  let tailBytes = 0;
  let published = options.revision;
  let closed = false;
  const wakers = new Set<() => void>();

  const wakeAll = () => {
    for (const wake of wakers) wake();
  };

  const bytesOf = (batch: WatchBatch) =>
    batch.events.reduce((sum, event) => sum + eventBytes(event), 0);

  const assertKept = (after: Revision) => {
    const { compacted: compactedRevision } = store.state();
    if (after < compactedRevision) throw compacted(after, compactedRevision);
  };

  const read = (prefix: string, after: Revision): { batches: WatchBatch[]; upTo: Revision } => {
    const first = tail[0]?.revision;
    if (first !== undefined && after >= first - 1) {
      const batches = tail.slice(after + 1 - first).flatMap((batch) => touching(prefix, batch));
      return { batches, upTo: published };
    }
    assertKept(after);
    const upTo = Math.min(published, after + pageRevisionsMax) as Revision;
    return store.batches({ after, upTo, prefix, bytesMax: pageBytesMax });
  };

  /** Resolves when something was published, the time is over, or the watch has to end. */
  const pause = (timeoutMs: number, signal: AbortSignal | undefined) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        timer.cancel();
        wakers.delete(wake);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const timer = clock.after(timeoutMs, wake);
      wakers.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
    });

  // A server has dozens of watches: their bookmarks come together, not each by a wake of both threads.
  const bookmarkAfterMs = (nowMs: number) =>
    nowMs + (clock.untilNext?.(options.bookmarkMs) ?? options.bookmarkMs);

  async function* follow(prefix: string, after: Revision, signal: AbortSignal | undefined) {
    if (after > published) throw futureRevision(after, published);
    assertKept(after);
    let seen = after;
    let told = after;
    let bookmarkDueMs = bookmarkAfterMs(clock.monotonicMs());
    const ended = () => signal?.aborted ?? false;
    while (!ended()) {
      if (closed) throw unavailable("the ledger was closed");
      const { batches, upTo } = read(prefix, seen);
      for (const batch of batches) {
        told = batch.revision;
        yield batch;
        if (ended()) return;
      }
      seen = upTo;
      const nowMs = clock.monotonicMs();
      if (nowMs >= bookmarkDueMs) {
        bookmarkDueMs = bookmarkAfterMs(nowMs);
        if (seen > told) yield { revision: seen, events: [] };
        told = seen;
      }
      // A long catch-up lets others have the thread between its pages.
      const waitMs = seen < published ? 0 : bookmarkDueMs - clock.monotonicMs();
      if (!ended() && !closed) await pause(waitMs, signal);
    }
  }

  return {
    publish(batch) {
      published = batch.revision;
      tail.push(batch);
      tailBytes += bytesOf(batch);
      // Dropped by halves, so that forgetting costs little. What is dropped stands in the file.
      if (tail.length > tailBatchesMax || tailBytes > tailBytesMax) {
        const dropped = tail.splice(0, Math.ceil(tail.length / 2));
        for (const old of dropped) tailBytes -= bytesOf(old);
      }
      wakeAll();
    },
    follow: ({ prefix, after, signal }) => follow(prefix, after ?? published, signal),
    close() {
      closed = true;
      wakeAll();
    },
  };
}

function touching(prefix: string, batch: WatchBatch): WatchBatch[] {
  if (prefix === "") return [batch];
  const events = batch.events.filter((event) =>
    (event.type === "put" ? event.keyValue.key : event.key).startsWith(prefix),
  );
  return events.length > 0 ? [{ revision: batch.revision, events }] : [];
}

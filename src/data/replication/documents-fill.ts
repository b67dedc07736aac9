/**
 * Fills the hub's copy of a collection with its documents, piece after piece, when no log here goes back
 * to what the hub lacks. Every node with a link sees that; chance keeps them from all beginning, and
 * the hub takes pieces of one at a time.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { SnapshotPlace } from "../documents/snapshots.ts";
import type { FeedStates, FeedWish, FillAnswer } from "../global/documents.ts";
import type { DocumentEgress, DocumentHub } from "../ports.ts";
import type { Vector } from "../streams/store.ts";

export interface Filling<C> {
  /**
   * How it ended, after at least a part of `afterMs`: the copy is at these positions, or is no longer
   * wanted; undefined when it is to be tried again. Does not reject.
   */
  fill(
    hub: DocumentHub<C>,
    feed: { readonly name: string; readonly wish: FeedWish },
    closed: AbortSignal,
  ): Promise<FillAnswer | undefined>;
}

const answerMsMax = 60_000;

export function createFilling<C>(
  deps: {
    readonly egress: Pick<DocumentEgress<C>, "clearSnapshot">;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  },
  options: { afterMs: number },
): Filling<C> {
  const { egress, clock, random, log } = deps;

  const within = async <T>(closed: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => {
    const reason = () =>
      new SkerryError({ code: "hub-silent", message: "the hub did not answer", retryable: true });
    const limit = deadline(clock, answerMsMax, { parent: closed, reason });
    try {
      return await work(limit.signal);
    } finally {
      limit.done();
    }
  };
  const topsOf = async (
    hub: DocumentHub<C>,
    { name, wish }: { name: string; wish: FeedWish },
    closed: AbortSignal,
  ): Promise<Vector | undefined> => {
    const states: FeedStates = await within(closed, (signal) =>
      hub.feeds({ [name]: wish }, { signal }),
    );
    const state = states[name];
    return state?.state === "open" ? state.tops : undefined;
  };
  const send = async (hub: DocumentHub<C>, name: string, closed: AbortSignal) => {
    let after: SnapshotPlace | undefined;
    while (!closed.aborted) {
      const bytes = await egress.clearSnapshot({ collection: name, after });
      if (bytes === undefined) return undefined;
      const answer = await within(closed, (signal) => hub.fill(bytes, { signal }));
      if (answer.state !== "staged") return answer;
      after = answer.at;
    }
    return undefined;
  };

  return {
    async fill(hub, feed, closed) {
      try {
        const before = await topsOf(hub, feed, closed);
        await clock.sleep(options.afterMs * (0.1 + random.float()), { signal: closed });
        const now = await topsOf(hub, feed, closed);
        // Somebody with a longer log, or with documents, has brought it further.
        const moved = Object.entries(now ?? {}).some(
          ([origin, top]) => top > (before?.[origin] ?? 0),
        );
        if (moved) return undefined;
        return await send(hub, feed.name, closed);
      } catch (error) {
        if (!closed.aborted && !isAbort(error))
          log.warn("the hub's copy could not be filled with documents; it is tried again", {
            collection: feed.name,
            error,
          });
        return undefined;
      }
    },
  };
}

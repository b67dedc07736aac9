/**
 * When documents are deleted for their age: a look now and then while any collection has a retention. Of
 * the nodes of the cell the first by name deletes, each after it some time later, by when it has heard
 * of what is gone: so one operation deletes a document, also while nodes are down.
 */
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { CollectionDeclaration, Expired, ExpireQuery } from "./store.ts";

export interface Expiring {
  declare(collections: readonly CollectionDeclaration[]): void;
  stop(): void;
}

const periodMsMax = 60_000;
const periodMsMin = 1000;
/** Of the shortest retention: how late a look may be. */
const looks = 20;

export function createExpiring(
  deps: {
    readonly store: { expire(query: ExpireQuery): Promise<Expired> };
    /** Of the cell now, this one included; without it they are not known yet. */
    readonly nodes: () => readonly string[];
    readonly clock: Clock;
    readonly log: Log;
    /** Documents of a collection were deleted by this node. */
    readonly onDeleted?: (collection: string, documents: number) => void;
  },
  { node }: { node: string },
): Expiring {
  const { store, clock, log } = deps;
  let timer: { readonly periodMs: number; readonly looks: Timer } | undefined;

  const look = async () => {
    const rank = [...deps.nodes()].sort().indexOf(node);
    if (rank < 0) return;
    const sums = new Map<string, number>();
    for (let isMore = true; isMore;) {
      const { deleted, more } = await store.expire({ rank });
      for (const [name, documents] of Object.entries(deleted)) {
        sums.set(name, (sums.get(name) ?? 0) + documents);
        deps.onDeleted?.(name, documents);
      }
      isMore = more;
    }
    for (const [collection, documents] of sums)
      log.info("documents that nobody changed for long enough were deleted", {
        collection,
        documents,
      });
  };

  return {
    declare(collections) {
      const ages = collections.flatMap(({ retention }) => (retention ? [retention.maxAgeMs] : []));
      const wanted = Math.min(periodMsMax, Math.max(periodMsMin, Math.min(...ages) / looks));
      const periodMs = ages.length === 0 ? undefined : wanted;
      if (timer?.periodMs === periodMs) return;
      timer?.looks.cancel();
      timer =
        periodMs === undefined
          ? undefined
          : {
              periodMs,
              looks: every(clock, periodMs, look, (error) =>
                log.warn("old documents were not deleted; it is tried again", { error }),
              ),
            };
    },
    stop() {
      timer?.looks.cancel();
    },
  };
}

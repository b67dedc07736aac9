/** Which copies of cells' collections there are, by cell and collection, and the engines that keep them. */
import type { EgressPolicy } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { createEngine, type Engine } from "../documents/engine.ts";
import { createHybridClock } from "../documents/hybrid-clock.ts";
import type { DocumentTables } from "../documents/tables.ts";
import type { FeedWish } from "./documents.ts";

export type Feed = FeedWish & {
  readonly id: number;
  readonly cell: string;
  readonly collection: string;
  readonly policy: EgressPolicy;
  /** What readers have. Of a cell's collection there is one, and at most one more that is filled. */
  readonly live: boolean;
};

export interface FeedTables {
  feeds(): Feed[];
  addFeed(feed: Omit<Feed, "id">): Feed;
  saveFeed(feed: Feed): void;
  /** It is no longer among `feeds`; its rows may go later. */
  dropFeed(feed: Feed): void;
  tablesOf(feed: Feed): DocumentTables;
}

export type FeedName = Pick<Feed, "cell" | "collection">;

export interface FeedBook {
  /** Of one cell's collection. */
  of(at: FeedName): readonly Feed[];
  all(): readonly Feed[];
  add(feed: Omit<Feed, "id">): Feed;
  save(feed: Feed): Feed;
  drop(feed: Feed): void;
  engineOf(feed: Feed): Engine;
  /** After a transaction that was undone: all is read anew. */
  forget(): void;
}

/** Engines kept in memory; all that they know stands in their tables. */
const enginesMax = 256;
/** No node is called so. */
export const hubOrigin = "@hub";

export const nameOf = ({ cell, collection }: FeedName) => `${cell}\n${collection}`;

export function createFeedBook(deps: { tables: FeedTables; clock: Clock; log: Log }): FeedBook {
  const { tables, clock, log } = deps;
  let byName = new Map<string, readonly Feed[]>();
  const engines = new Map<number, Engine>();
  const of = (at: FeedName) => byName.get(nameOf(at)) ?? [];
  const without = ({ id, ...at }: FeedName & Pick<Feed, "id">) =>
    of(at).filter((feed) => feed.id !== id);
  const put = (feed: Feed) => {
    byName.set(nameOf(feed), [...without(feed), feed]);
    return feed;
  };
  const load = () => {
    byName = new Map();
    engines.clear();
    for (const feed of tables.feeds()) put(feed);
  };
  load();

  return {
    of,
    all: () => [...byName.values()].flat(),
    add: (feed) => put(tables.addFeed(feed)),
    save(feed) {
      tables.saveFeed(feed);
      return put(feed);
    },
    drop(feed) {
      tables.dropFeed(feed);
      engines.delete(feed.id);
      byName.set(nameOf(feed), without(feed));
    },
    engineOf(feed) {
      const known = engines.get(feed.id);
      engines.delete(feed.id);
      const engine =
        known ??
        createEngine(
          { tables: tables.tablesOf(feed), clock: createHybridClock({ clock }), log },
          { origin: hubOrigin, node: hubOrigin, covering: true },
        );
      engines.set(feed.id, engine);
      const [oldest] = engines.keys();
      if (engines.size > enginesMax && oldest !== undefined) engines.delete(oldest);
      return engine;
    },
    forget: load,
  };
}

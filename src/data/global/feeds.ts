/**
 * The hub's copies of a cell's collections. A feed is one copy, made by one policy: the collection's
 * part of every origin's log, and the documents made of it. A later policy begins a new feed, which
 * readers have once it has all that the cell has (decision 13). Every call of `ingest` runs inside a
 * transaction of its owner; `forget` after one that was undone.
 */
import { coverRuns, type EgressPolicy } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { createEngine, type Engine } from "../documents/engine.ts";
import { createHybridClock } from "../documents/hybrid-clock.ts";
import type { decodeLeaving } from "../documents/leaving.ts";
import { readOperation, type Operation } from "../documents/operation.ts";
import type { DocumentTables } from "../documents/tables.ts";
import type { OperationRecheck } from "../ports.ts";
import { covers } from "../replication/vectors.ts";
import type { FeedStates, FeedWish } from "./documents.ts";

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

export interface Feeds {
  ingest(cell: string, batch: ReturnType<typeof decodeLeaving>): FeedStates;
  states(cell: string, wishes: Readonly<Record<string, FeedWish>>): FeedStates;
  /** Whether a cell has sent a collection of this name. */
  knows(collection: string): boolean;
  /** What readers have, by cell. */
  live(where: { cell?: string | undefined; collection?: string | undefined }): readonly Feed[];
  isRenewing(feed: Feed): boolean;
  /** Whether `settle` has something to do now. */
  readonly isDue: boolean;
  /** Shows what was filled with all that its senders had, and still lacks what only the old copy has. */
  settle(): void;
  engineOf(feed: Feed): Engine;
  forget(): void;
}

/** Engines kept in memory; all that they know stands in their tables. */
const enginesMax = 256;
const replayBytes = 1024 * 1024;
/** How long a new copy waits for what only the old one has, of a node that may come back and send it. */
const graceMsDefault = 600_000;
/** No node is called so. */
const hubOrigin = "@hub";

export function createFeeds(
  deps: {
    tables: FeedTables;
    recheck: Pick<OperationRecheck, "narrow">;
    /** Collections that the hub itself writes: nothing of these names is taken. */
    isPublished?: (collection: string) => boolean;
    clock: Clock;
    log: Log;
  },
  options: { graceMs?: number } = {},
): Feeds {
  const { tables, recheck, clock, log } = deps;
  const graceMs = options.graceMs ?? graceMsDefault;
  /** Feeds that have all that their senders had, since when. Forgotten with a restart: then they wait anew. */
  const filledSinceMs = new Map<number, number>();
  let byName = new Map<string, Feed[]>();
  const engines = new Map<number, Engine>();
  const nameOf = ({ cell, collection }: Pick<Feed, "cell" | "collection">) =>
    `${cell}\n${collection}`;
  const feedsOf = (at: Pick<Feed, "cell" | "collection">) => byName.get(nameOf(at)) ?? [];
  const put = (feed: Feed) => {
    const others = feedsOf(feed).filter(({ id }) => id !== feed.id);
    byName.set(nameOf(feed), [...others, feed]);
    return feed;
  };
  const load = () => {
    byName = new Map();
    engines.clear();
    for (const feed of tables.feeds()) put(feed);
  };
  load();

  const save = (feed: Feed): Feed => {
    tables.saveFeed(feed);
    return put(feed);
  };
  const drop = (feed: Feed) => {
    tables.dropFeed(feed);
    engines.delete(feed.id);
    filledSinceMs.delete(feed.id);
    byName.set(
      nameOf(feed),
      feedsOf(feed).filter(({ id }) => id !== feed.id),
    );
  };
  const engineOf = (feed: Feed): Engine => {
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
  };

  /** The feed of this shape, made when it is the latest; undefined when a later one is known. */
  const claim = (
    at: Pick<Feed, "cell" | "collection">,
    wish: FeedWish & { policy: EgressPolicy },
  ): Feed | undefined => {
    if (deps.isPublished?.(at.collection)) return undefined;
    const there = feedsOf(at);
    const same = there.find(({ shape }) => shape === wish.shape);
    const filled = there.find(({ live }) => !live);
    if (same) {
      if (!isLater(wish, same)) return same;
      // Back to the policy of before while the next one was being filled.
      if (filled && filled !== same && isLater(wish, filled)) drop(filled);
      return save({ ...same, revision: wish.revision, kinds: wish.kinds });
    }
    if (there.some((feed) => !isLater(wish, feed))) return undefined;
    if (filled) drop(filled);
    return put(tables.addFeed({ ...at, ...wish, live: there.length === 0 }));
  };

  /** What only the old copy has is taken over, less what the policy of now does not let out. */
  const promote = (feed: Feed) => {
    const engine = engineOf(feed);
    for (const old of feedsOf(feed).filter(({ live }) => live)) {
      const oldTables = tables.tablesOf(old);
      for (const row of oldTables.origins()) {
        let top = engine.vector()[row.name] ?? 0;
        while (top < row.stored && row.name !== hubOrigin) {
          const logged = oldTables.operations(row, top + 1, replayBytes);
          const operations = logged.map(({ text }) =>
            recheck.narrow(readOperation(text), feed.policy),
          );
          top = engine.store({
            origin: row.name,
            from: logged[0]?.sequence ?? top + 1,
            operations,
            texts: operations.map((operation) => JSON.stringify(operation)),
          }).top;
        }
      }
      drop(old);
    }
    filledSinceMs.delete(feed.id);
    save({ ...feed, live: true });
    log.info("a collection is shown by its egress of now", {
      cell: feed.cell,
      collection: feed.collection,
    });
  };

  const due = () => {
    const beforeMs = clock.monotonicMs() - graceMs;
    const ids = new Set([...filledSinceMs].flatMap(([id, ms]) => (ms <= beforeMs ? [id] : [])));
    return ids.size === 0 ? [] : [...byName.values()].flat().filter(({ id }) => ids.has(id));
  };

  return {
    ingest(cell, { origin, from, operations, vector, collections, shapes }) {
      const states: [string, FeedStates[string]][] = [];
      for (const [collection, { policy, revision }] of Object.entries(collections)) {
        const { shape, kinds } = shapes.get(collection) ?? { shape: "", kinds: 0 };
        const feed = claim({ cell, collection }, { shape, revision, kinds, policy });
        if (!feed) {
          states.push([collection, { state: "superseded" }]);
          continue;
        }
        const engine = engineOf(feed);
        const part = partOf(operations, collection);
        const texts = part.map((operation) => JSON.stringify(operation));
        const { top } = engine.store({ origin, from, operations: part, texts });
        if (!feed.live && covers(engine.vector(), vector)) {
          const old = feedsOf(feed).filter(({ live }) => live);
          if (old.every((each) => covers(engine.vector(), engineOf(each).vector()))) promote(feed);
          else if (!filledSinceMs.has(feed.id)) filledSinceMs.set(feed.id, clock.monotonicMs());
        }
        states.push([collection, { state: "open", tops: { [origin]: top } }]);
      }
      return Object.fromEntries(states);
    },
    states(cell, wishes) {
      return Object.fromEntries(
        Object.entries(wishes).map(([collection, wish]): [string, FeedStates[string]] => {
          if (deps.isPublished?.(collection)) return [collection, { state: "superseded" }];
          const there = feedsOf({ cell, collection });
          const same = there.find(({ shape }) => shape === wish.shape);
          if (same) return [collection, { state: "open", tops: engineOf(same).vector() }];
          return there.every((feed) => isLater(wish, feed))
            ? [collection, { state: "open", tops: {} }]
            : [collection, { state: "superseded" }];
        }),
      );
    },
    knows: (collection) =>
      byName.values().some((there) => there.some((feed) => feed.collection === collection)),
    live: ({ cell, collection }) =>
      (cell !== undefined && collection !== undefined
        ? feedsOf({ cell, collection })
        : [...byName.values()].flat()
      )
        .filter(
          (feed) =>
            feed.live &&
            (cell === undefined || feed.cell === cell) &&
            (collection === undefined || feed.collection === collection),
        )
        .sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)),
    get isDue() {
      return due().length > 0;
    },
    settle() {
      for (const feed of due()) promote(feed);
    },
    isRenewing: (feed) => feedsOf(feed).some(({ live }) => !live),
    engineOf,
    forget: load,
  };
}

const isLater = (wish: FeedWish, than: FeedWish): boolean =>
  wish.revision > than.revision || (wish.revision === than.revision && wish.kinds > than.kinds);

/** What of a piece of a log is about this collection; the rest covers its positions. */
const partOf = (operations: readonly Operation[], collection: string): Operation[] =>
  coverRuns(
    operations.map((operation) => {
      const { hlc, seen, writes } = operation;
      const mine = writes.filter((write) => write.collection === collection);
      if (mine.length > 0) return { hlc, seen, writes: mine };
      return { hlc: 0, seen, writes: [], covers: operation.covers ?? 1 };
    }),
  );

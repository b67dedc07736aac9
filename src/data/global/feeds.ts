/**
 * The hub's copies of a cell's collections. A feed is one copy, made by one policy: the collection's
 * part of every origin's log, and the documents made of it. A later policy begins a new feed, which
 * readers have once it has all that the cell has (decision 13). Every call of `ingest` runs inside a
 * transaction of its owner; `forget` after one that was undone.
 */
import { coverRuns, type EgressPolicy } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Engine } from "../documents/engine.ts";
import type { decodeLeaving, decodeLeavingSnapshot } from "../documents/leaving.ts";
import { readSnapshot, snapshotAt, takeSnapshot } from "../documents/snapshots.ts";
import { readOperation, type Operation } from "../documents/operation.ts";
import type { DocumentTables } from "../documents/tables.ts";
import type { OperationRecheck } from "../ports.ts";
import { covers } from "../replication/vectors.ts";
import type { Vector } from "../streams/store.ts";
import type { FeedStates, FeedWish, FillAnswer } from "./documents.ts";
import { createFeedBook, hubOrigin, nameOf, type Feed, type FeedTables } from "./feed-book.ts";

export interface Feeds {
  ingest(cell: string, batch: ReturnType<typeof decodeLeaving>): FeedStates;
  fill(cell: string, piece: ReturnType<typeof decodeLeavingSnapshot>): FillAnswer;
  /** Makes the documents of a copy again: from its log, or by having the cell send them. */
  renew(feed: Feed): void;
  states(cell: string, wishes: Readonly<Record<string, FeedWish>>): FeedStates;
  /** Whether a cell has sent a collection of this name. */
  knows(collection: string): boolean;
  /** What readers have, by cell. */
  live(where: { cell?: string | undefined; collection?: string | undefined }): readonly Feed[];
  /** All that there are of a cell's collection: what readers have, and what is being filled. */
  of(at: Pick<Feed, "cell" | "collection">): readonly Feed[];
  isRenewing(feed: Feed): boolean;
  /** Whether `settle` has something to do now. */
  readonly isDue: boolean;
  /** Shows what was filled with all that its senders had, and still lacks what only the old copy has. */
  settle(): void;
  engineOf(feed: Feed): Engine;
  forget(): void;
}

const replayBytes = 1024 * 1024;
/** Operations that are forgotten with one batch: more than it brings. */
const truncateRows = 5000;
/** How long a node that fills a copy is waited for before another one does. */
const fillerMsMax = 60_000;
/** How long a new copy waits for what only the old one has, of a node that may come back and send it. */
const graceMsDefault = 600_000;

export function createFeeds(
  deps: {
    tables: FeedTables;
    recheck: Pick<OperationRecheck, "narrow" | "narrowState" | "lets">;
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
  /** Copies that are sent as documents, and when a piece came last. */
  const fillingSinceMs = new Map<number, number>();
  const book = createFeedBook({ tables, clock, log });
  const { of: feedsOf, save, engineOf } = book;
  const drop = (feed: Feed) => {
    book.drop(feed);
    filledSinceMs.delete(feed.id);
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
    return book.add({ ...at, ...wish, live: there.length === 0 });
  };

  /** Documents of what the old copy has applied and the new one lacks. */
  const takeOver = ({
    old,
    oldTables,
    feed,
    engine,
  }: {
    old: Feed;
    oldTables: DocumentTables;
    feed: Feed;
    engine: Engine;
  }) => {
    const from = { engine: engineOf(old), tables: oldTables };
    const to = { engine, tables: tables.tablesOf(feed) };
    to.tables.setStagedAt(undefined);
    // That the old copy lacks a field says nothing where its policy did not let it out.
    const hears = recheck.lets(old.policy);
    while (!covers(engine.applied(), from.engine.applied())) {
      const { collection } = old;
      const query = { after: snapshotAt(to.tables), collection, bytesMax: replayBytes };
      const piece = readSnapshot(from, `copy ${old.id}`, query);
      const documents = piece.documents.map((document) => ({
        ...document,
        state: recheck.narrowState(document.state, feed.policy),
      }));
      takeSnapshot(to, { ...piece, documents }, hears);
    }
  };
  /** A copy that has all that a sender has is shown, now or when nobody sends more. */
  const settleFilled = (feed: Feed, vector: Vector) => {
    const engine = engineOf(feed);
    if (feed.live || !covers(engine.vector(), vector)) return;
    const old = feedsOf(feed).filter(({ live }) => live);
    if (old.every((each) => covers(engine.vector(), engineOf(each).vector()))) promote(feed);
    else if (!filledSinceMs.has(feed.id)) filledSinceMs.set(feed.id, clock.monotonicMs());
  };
  /** Readers have the documents, and a later copy is made of these: the log is for what waits. */
  const truncate = (engine: Engine) =>
    void engine.truncate({ acked: engine.applied(), bytesMax: Infinity, rowsMax: truncateRows });

  /** What only the old copy has is taken over, less what the policy of now does not let out. */
  const promote = (feed: Feed) => {
    const engine = engineOf(feed);
    for (const old of feedsOf(feed).filter(({ live }) => live)) {
      const oldTables = tables.tablesOf(old);
      takeOver({ old, oldTables, feed, engine });
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
    return ids.size === 0 ? [] : book.all().filter(({ id }) => ids.has(id));
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
        truncate(engine);
        settleFilled(feed, vector);
        states.push([collection, { state: "open", tops: { [origin]: top } }]);
      }
      return Object.fromEntries(states);
    },
    fill(cell, { collection, egress, shape, ...piece }) {
      const { policy, revision } = egress;
      const feed = claim({ cell, collection }, { ...shape, revision, policy });
      if (!feed) return { state: "superseded" };
      const parts = { engine: engineOf(feed), tables: tables.tablesOf(feed) };
      const at = snapshotAt(parts.tables);
      const atMs = fillingSinceMs.get(feed.id);
      const isOthers = at !== undefined && at.view !== piece.view;
      if (isOthers && atMs !== undefined && clock.monotonicMs() - atMs < fillerMsMax)
        return { state: "busy" };
      fillingSinceMs.set(feed.id, clock.monotonicMs());
      const taken = takeSnapshot(parts, piece);
      if (taken.state === "elsewhere") return { state: "elsewhere" };
      if (taken.state === "staged" && taken.at) return { state: "staged", at: taken.at };
      fillingSinceMs.delete(feed.id);
      truncate(parts.engine);
      settleFilled(feed, parts.engine.applied());
      return { state: "open", tops: parts.engine.vector() };
    },
    renew(feed) {
      const engine = engineOf(feed);
      if (Object.keys(engine.floors()).length === 0) engine.rebuild();
      // Of no shape that anybody sends: a copy of the right one takes its place.
      else save({ ...feed, shape: "", kinds: 0 });
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
    knows: (collection) => book.all().some((feed) => feed.collection === collection),
    live: ({ cell, collection }) =>
      (cell !== undefined && collection !== undefined ? feedsOf({ cell, collection }) : book.all())
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
    of: feedsOf,
    isRenewing: (feed) => feedsOf(feed).some(({ live }) => !live),
    engineOf,
    forget: book.forget,
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

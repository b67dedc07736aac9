/** A hub's copies of documents in memory: the real feeds, in transactions that any write can cut off. */
import type { DocumentWrite, GlobalDocumentStore, Publication } from "../../../data/index.ts";
import {
  createEngine,
  createFeeds,
  createHybridClock,
  createPublished,
  decodeLeaving,
  decodeLeavingSnapshot,
  hubOriginPrefix,
  type Feed,
  type Feeds,
  type FeedTables,
  type Published,
  type PublishedFeed,
  type PublishedFilter,
  type PublishedTables,
} from "../../../data/inside/index.ts";
import type { Clock } from "../../../lib/clock.ts";
import { silentLog } from "../../../lib/log.ts";
import { createOperationRecheck } from "../../../privacy/gate/index.ts";
import { createMemoryTables, powerCut, type MemoryTables } from "./documents-memory.ts";

export type MemoryHub = Pick<GlobalDocumentStore, "ingest" | "fill" | "feeds" | "pull" | "on"> & {
  readonly current: Feeds;
  readonly published: Published;
  publish(publication: Publication): void;
  write(writes: readonly DocumentWrite[]): void;
  /** The power goes in the next transaction, after this many more writes to one of the feeds. */
  cutAfter(writes: number): void;
  /** What it knew in memory is gone. */
  restart(): void;
};

export function createMemoryHub(deps: { clock: Clock; onPowerCut: () => void }): MemoryHub {
  const recheck = createOperationRecheck();
  const tablesById = new Map<number, MemoryTables>();
  let rows: readonly Feed[] = [];
  let filters: readonly PublishedFilter[] = [];
  let copies: readonly PublishedFeed[] = [];
  let lastId = 0;
  let cut: number | undefined;
  const withTables = <Fields extends object>(feed: Fields) => {
    const added = { ...feed, id: ++lastId };
    const its = createMemoryTables();
    its.begin();
    its.cutAfter = cut;
    tablesById.set(added.id, its);
    return added;
  };
  const tables: FeedTables = {
    feeds: () => [...rows],
    addFeed(feed) {
      const added = withTables(feed);
      rows = [...rows, added];
      return added;
    },
    saveFeed(feed) {
      rows = rows.map((row) => (row.id === feed.id ? feed : row));
    },
    dropFeed({ id }) {
      rows = rows.filter((row) => row.id !== id);
    },
    tablesOf: ({ id }) => tablesById.get(id) ?? createMemoryTables(),
  };
  const publishedTables: PublishedTables = {
    filters: () => filters,
    saveFilter(filter) {
      filters = [...filters.filter(({ name }) => name !== filter.name), filter];
    },
    feeds: () => copies,
    addFeed(feed) {
      const added = withTables(feed);
      copies = [...copies, added];
      return added;
    },
    saveFeed(feed) {
      copies = copies.map((copy) => (copy.id === feed.id ? feed : copy));
    },
    tablesOf: ({ id }) => tablesById.get(id) ?? createMemoryTables(),
    changesOf: ({ id }, since, limit) =>
      [...(tablesById.get(id)?.documents.values() ?? [])]
        .filter(({ change }) => change > since)
        .sort((a, b) => a.change - b.change)
        .slice(0, limit),
  };
  const openPublished = (): Published =>
    createPublished({
      tables: publishedTables,
      openEngine: (feed) =>
        createEngine(
          {
            tables: publishedTables.tablesOf(feed),
            clock: createHybridClock({ clock: deps.clock }),
            log: silentLog,
          },
          { origin: `${hubOriginPrefix}${feed.collection}.${feed.id}`, node: "@hub" },
        ),
      copyOf(at) {
        const [feed] = current.live(at);
        return feed && { ...feed, engine: current.engineOf(feed), tables: tables.tablesOf(feed) };
      },
      lets: recheck.lets,
    });
  let published = openPublished();
  const listeners = new Set<() => void>();
  const isPublished = (name: string) => published.has(name) && !published.isFromCells(name);
  const open = (): Feeds =>
    createFeeds({ tables, recheck, isPublished, clock: deps.clock, log: silentLog });
  let current = open();
  let isOpen = true;

  const transaction = <T>(work: () => T): T => {
    if (!isOpen) throw powerCut();
    const before = { rows, filters, copies };
    for (const each of tablesById.values()) {
      each.begin();
      each.cutAfter = cut;
    }
    try {
      const result = work();
      for (const each of tablesById.values()) each.commit();
      return result;
    } catch (error) {
      for (const each of tablesById.values()) each.rollback();
      ({ rows, filters, copies } = before);
      isOpen = false;
      deps.onPowerCut();
      throw error;
    } finally {
      cut = undefined;
      for (const each of tablesById.values()) each.cutAfter = undefined;
    }
  };

  return {
    get current() {
      return current;
    },
    async ingest(cell, bytes) {
      const batch = decodeLeaving(bytes);
      recheck.check({ ...batch });
      return transaction(() => {
        const states = current.ingest(cell, batch);
        for (const name of Object.keys(batch.collections)) published.absorb(name, cell);
        return states;
      });
    },
    async fill(cell, bytes) {
      const piece = decodeLeavingSnapshot(bytes);
      recheck.checkSnapshot(piece);
      return transaction(() => current.fill(cell, piece));
    },
    async feeds(cell, wishes) {
      if (!isOpen) throw powerCut();
      return current.states(cell, wishes);
    },
    get published() {
      return published;
    },
    publish: (publication) => transaction(() => published.publish(publication)),
    write(writes) {
      const written = transaction(() => published.write(writes, {}));
      if (written.state === "refused") throw new Error(written.complaint.message);
      for (const listener of listeners) listener();
    },
    async pull(query) {
      while (published.isDue(query)) {
        const bytes = transaction(() => published.pull({ ...query, bytesMax: 300 }));
        if (bytes) return bytes;
      }
      return undefined;
    },
    on(_event, listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    cutAfter(writes) {
      cut = writes;
    },
    restart() {
      cut = undefined;
      isOpen = true;
      published = openPublished();
      current = open();
    },
  };
}

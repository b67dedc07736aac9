/** A hub's copies of documents in memory: the real feeds, in transactions that any write can cut off. */
import {
  createFeeds,
  type Feed,
  type Feeds,
  type FeedTables,
} from "../../src/data/global/feeds.ts";
import { decodeLeaving, type GlobalDocumentStore } from "../../src/data/index.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationRecheck } from "../../src/privacy/gate/index.ts";
import {
  createMemoryTables,
  powerCut,
  type MemoryTables,
} from "../../src/drill/simulated/convergence/documents-memory.ts";

export type MemoryHub = Pick<GlobalDocumentStore, "ingest" | "feeds"> & {
  readonly current: Feeds;
  /** The power goes in the next transaction, after this many more writes to one of the feeds. */
  cutAfter(writes: number): void;
  /** What it knew in memory is gone. */
  restart(): void;
};

export function createMemoryHub(deps: { clock: Clock; onPowerCut: () => void }): MemoryHub {
  const recheck = createOperationRecheck();
  const tablesById = new Map<number, MemoryTables>();
  let rows: readonly Feed[] = [];
  let lastId = 0;
  let cut: number | undefined;
  const tables: FeedTables = {
    feeds: () => [...rows],
    addFeed(feed) {
      const added = { ...feed, id: ++lastId };
      const its = createMemoryTables();
      its.begin();
      its.cutAfter = cut;
      tablesById.set(added.id, its);
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
  const open = () => createFeeds({ tables, recheck, clock: deps.clock, log: silentLog });
  let current = open();
  let isOpen = true;

  const transaction = <T>(work: () => T): T => {
    if (!isOpen) throw powerCut();
    const before = rows;
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
      rows = before;
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
      return transaction(() => current.ingest(cell, batch));
    },
    async feeds(cell, wishes) {
      if (!isOpen) throw powerCut();
      return current.states(cell, wishes);
    },
    cutAfter(writes) {
      cut = writes;
    },
    restart() {
      cut = undefined;
      isOpen = true;
      current = open();
    },
  };
}

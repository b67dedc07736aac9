/** The hub's documents in one SQLite file with one writer and group commit. */
import { every, type Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { nameSuffix, type Random } from "../../../lib/random.ts";
import { createGroupCommit, openDatabase, sqliteFailure } from "../../../runtime/sqlite/index.ts";
import { unknownCollection } from "../../documents/check.ts";
import { decodeLeaving } from "../../documents/leaving.ts";
import { knownChanges } from "../../documents/operation.ts";
import { createReader } from "../../documents/reading.ts";
import { openTables } from "../../documents/sqlite-tables.ts";
import type { OperationRecheck } from "../../ports.ts";
import type { GlobalDocument, GlobalDocumentStore } from "../documents.ts";
import { createFeeds, type Feed } from "../feeds.ts";
import { createFeedTables } from "./feed-tables.ts";

export type GlobalDocumentsOptions = {
  readonly path: string;
  /** Between two removals of what a copy that was replaced left behind. Default 1000. */
  readonly sweepPeriodMs?: number;
  /** How long a new copy waits for what only the one before has. Default 10 minutes. */
  readonly graceMs?: number;
};

const listDefault = 100;

/** Throws `store-damaged`, `store-newer`, `store-unavailable` or `disk-full`. */
export function openGlobalDocuments(
  deps: { clock: Clock; random: Random; log: Log; recheck: OperationRecheck },
  options: GlobalDocumentsOptions,
): GlobalDocumentStore {
  const { clock, random, log, recheck } = deps;
  const { path } = options;
  const db = openDatabase(path);
  const opened = () => {
    const base = openTables(db, path);
    const tables = createFeedTables(db, base);
    return { base, tables, feeds: createFeeds({ tables, recheck, clock, log }, options) };
  };
  let parts: ReturnType<typeof opened>;
  try {
    parts = opened();
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
  const { base, tables, feeds } = parts;
  const writer = createGroupCommit(db, {
    path,
    rerunnable: true,
    // A batch holds hundreds of operations.
    worksMax: 16,
    onRollback() {
      base.forget();
      feeds.forget();
    },
  });
  /** What an earlier version stored without knowing what it means is made again. */
  const catchUp = async () => {
    const known = [...knownChanges].join();
    const leftOut = base.leftOut();
    if (leftOut === undefined || leftOut === known) return;
    for (const feed of feeds.live({})) await writer.write(() => feeds.engineOf(feed).rebuild());
    await writer.write(() => base.setLeftOut(known));
  };
  catchUp().catch((error: unknown) => log.error("documents could not be made again", { error }));
  const view = nameSuffix(random, 8);
  const readerOf = (feed: Feed) =>
    createReader({ tables: base, engine: feeds.engineOf(feed), view });
  const shown =
    (feed: Feed) =>
    (document: Omit<GlobalDocument, "cell">): GlobalDocument => ({
      ...document,
      cell: feed.cell,
      collection: feed.collection,
    });
  const require = (where: { cell?: string | undefined; collection: string }) => {
    const found = feeds.live(where);
    if (found.length > 0) return found;
    const names = feeds.live({ cell: where.cell }).map(({ collection }) => collection);
    throw new SkerryError(unknownCollection(where.collection, new Set(names)));
  };

  const store: GlobalDocumentStore = {
    async ingest(cell, bytes) {
      const batch = decodeLeaving(bytes);
      recheck.check(batch);
      return writer.write(() => feeds.ingest(cell, batch));
    },
    async feeds(cell, wishes) {
      return feeds.states(cell, wishes);
    },
    async read({ collection, cell, id }) {
      const [feed] = require({ collection, cell });
      const document = feed && readerOf(feed).read(tables.collectionOf(feed), id);
      return feed && document && shown(feed)(document);
    },
    async list({ collection, cell, id, after, limit = listDefault, conflicted }) {
      const found = require({ collection, cell });
      const [afterCell = "", afterId = ""] = after === undefined ? [] : placeOf(after);
      const documents: GlobalDocument[] = [];
      for (const feed of found.filter((each) => each.cell >= afterCell)) {
        const reader = readerOf(feed);
        const name = tables.collectionOf(feed);
        const begin = feed.cell === afterCell ? afterId : "";
        if (id !== undefined) {
          const document = begin < id ? reader.read(name, id) : undefined;
          if (document) documents.push(shown(feed)(document));
        } else {
          const left = limit - documents.length;
          const query = { collection: name, after: begin, limit: left };
          const page = reader.list({ ...query, ...(conflicted ? { conflicted } : {}) });
          documents.push(...page.documents.map(shown(feed)));
          if (page.next !== undefined) return { documents, next: `${feed.cell}:${page.next}` };
        }
        const isLast = feed === found.at(-1);
        if (documents.length >= limit && !isLast)
          return { documents, next: `${feed.cell}:${documents.at(-1)?.id ?? ""}` };
      }
      return { documents };
    },
    async collections(cell) {
      const counted = new Map(base.counts().map((row) => [row.name, row]));
      return feeds.live({ cell }).map((feed) => {
        const { documents = 0, conflicted = 0 } = counted.get(tables.collectionOf(feed)) ?? {};
        return {
          cell: feed.cell,
          name: feed.collection,
          documents,
          conflicted,
          waiting: tables.waitingOf(feed),
          renewing: feeds.isRenewing(feed),
        };
      });
    },
    async close() {
      sweeps.cancel();
      await writer.close();
    },
  };
  const sweeps = every(
    clock,
    options.sweepPeriodMs ?? 1000,
    async () => {
      if (feeds.isDue) await writer.write(() => feeds.settle());
      for (let more = true; more;) more = await writer.write(() => tables.sweep());
    },
    (error) => log.warn("what a replaced copy left is removed later", { error }),
  );
  return store;
}

/** `CELL:ID`; a cell's name has no colon. Throws `invalid-cursor`. */
function placeOf(cursor: string): [string, string] {
  const at = cursor.indexOf(":");
  if (at > 0) return [cursor.slice(0, at), cursor.slice(at + 1)];
  throw new SkerryError({
    code: "invalid-cursor",
    message: `after: "${cursor.slice(0, 100)}" is no place in a list`,
    hint: "use the `next` of the page before",
  });
}

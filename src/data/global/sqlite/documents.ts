/** The hub's documents in one SQLite file with one writer and group commit. */
import { every, type Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { nameSuffix, type Random } from "../../../lib/random.ts";
import { createSignals } from "../../../lib/signals.ts";
import {
  createGroupCommit,
  openDatabase,
  sqliteFailure,
  type SqlDatabase,
  type Writer,
} from "../../../runtime/sqlite/index.ts";
import { unknownCollection } from "../../documents/check.ts";
import { decodeLeaving, decodeLeavingSnapshot } from "../../documents/leaving.ts";
import { knownChanges } from "../../documents/operation.ts";
import { createEngine, type Engine } from "../../documents/engine.ts";
import { createHybridClock } from "../../documents/hybrid-clock.ts";
import { createReader } from "../../documents/reading.ts";
import { openTables, type SqliteTables } from "../../documents/sqlite-tables.ts";
import type { OperationRecheck } from "../../ports.ts";
import type { GlobalDocument, GlobalDocumentStore } from "../documents.ts";
import { createCopyIndexes, indexesMax } from "../copy-indexes.ts";
import { createFeeds } from "../feeds.ts";
import { createPublished, hubOriginPrefix } from "../published.ts";
import { createFeedTables } from "./feed-tables.ts";
import { createPublishedTables } from "./published-tables.ts";

export type GlobalDocumentsOptions = {
  readonly path: string;
  /** Between two removals of what a copy that was replaced left behind. Default 1000. */
  readonly sweepPeriodMs?: number;
  /** How long a new copy waits for what only the one before has. Default 10 minutes. */
  readonly graceMs?: number;
  /** The database file never grows past this; what comes is then refused with `disk-full`. */
  readonly fileBytesMax?: number;
};

const listDefault = 100;
const pieceBytes = 128 * 1024;

/** Throws `store-damaged`, `store-newer`, `store-unavailable` or `disk-full`. */
export function openGlobalDocuments(
  deps: { clock: Clock; random: Random; log: Log; recheck: OperationRecheck },
  options: GlobalDocumentsOptions,
): GlobalDocumentStore {
  const { path } = options;
  const db = openDatabase(path, { fileBytesMax: options.fileBytesMax });
  try {
    const createWriter: DocumentGround["createWriter"] = (onRollback) =>
      // A batch holds hundreds of operations.
      createGroupCommit(db, { path, rerunnable: true, worksMax: 16, onRollback });
    return createGlobalDocuments(deps, { db, base: openTables(db, path), createWriter }, options);
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
}

/** What the hub's documents stand on. */
export type DocumentGround = {
  readonly db: SqlDatabase;
  readonly base: SqliteTables;
  /** `onRollback`: what was read before is to be forgotten. */
  createWriter(onRollback: () => void): Pick<Writer, "write" | "close">;
};

export function createGlobalDocuments(
  deps: { clock: Clock; random: Random; log: Log; recheck: OperationRecheck },
  { db, base, createWriter }: DocumentGround,
  options: Omit<GlobalDocumentsOptions, "path">,
): GlobalDocumentStore {
  const { clock, random, log, recheck } = deps;
  const opened = () => {
    const tables = createFeedTables(db, base);
    const instance = nameSuffix(random, 8);
    const own = createPublishedTables(db, base, { prefix: hubOriginPrefix, instance });
    const published = createPublished({
      tables: own,
      openEngine: (feed) =>
        createEngine(
          { tables: own.tablesOf(feed), clock: createHybridClock({ clock }), log },
          { origin: own.originOf(feed), node: hubOriginPrefix.slice(0, -1) },
        ),
      copyOf(at) {
        const [feed] = feeds.live(at);
        return feed && { ...feed, engine: feeds.engineOf(feed), tables: tables.tablesOf(feed) };
      },
      lets: recheck.lets,
    });
    const isPublished = (name: string) => published.has(name) && !published.isFromCells(name);
    const feeds = createFeeds({ tables, recheck, isPublished, clock, log }, options);
    return { tables, feeds, own, published };
  };
  const { tables, feeds, own, published } = opened();
  const signals = createSignals<{ published: undefined }>({
    onListenerError: (error) => log.error("a listener of the hub's documents failed", { error }),
  });
  const indexes = createCopyIndexes({
    tables: base,
    copiesOf(at) {
      const given = published.feed(at.collection, at.cell);
      const hubs = published.feed(at.collection, "");
      const sent = feeds.of(at).map((feed) => tables.collectionOf(feed));
      return {
        own: given ? [...sent, own.collectionOf(given)] : sent,
        shared: hubs ? [own.collectionOf(hubs)] : [],
      };
    },
  });
  /** In the tables, of what is written here. */
  const ownNameOf = (collection: string): string | undefined => {
    const feed = published.feed(collection, "");
    return feed && own.collectionOf(feed);
  };
  const writer = createWriter(() => {
    base.forget();
    feeds.forget();
    published.forget();
  });
  /** What an earlier version stored without knowing what it means is made again. */
  const catchUp = async () => {
    const known = [...knownChanges].join();
    const leftOut = base.leftOut();
    if (leftOut === undefined || leftOut === known) return;
    for (const feed of feeds.live({})) await writer.write(() => feeds.renew(feed));
    await writer.write(() => base.setLeftOut(known));
  };
  catchUp().catch((error: unknown) => log.error("documents could not be made again", { error }));
  const view = nameSuffix(random, 8);
  /** Something that readers can have: a cell's copy, what a cell was given, or the hub's own. */
  type Shown = {
    readonly cell: string;
    readonly collection: string;
    /** In the tables. */
    readonly name: string;
    readonly engine: Engine;
  };
  const shownOf = (where: { cell?: string | undefined; collection: string }): Shown[] => {
    const { collection } = where;
    if (published.has(collection)) {
      const feed = published.feed(collection, where.cell ?? "");
      const name = feed && own.collectionOf(feed);
      return feed && name !== undefined
        ? [{ cell: feed.cell, collection, name, engine: published.engineOf(feed) }]
        : [];
    }
    return feeds.live(where).map((feed) => ({
      cell: feed.cell,
      collection,
      name: tables.collectionOf(feed),
      engine: feeds.engineOf(feed),
    }));
  };
  const readerOf = ({ engine }: Shown) => createReader({ tables: base, engine, view });
  const shown =
    ({ cell, collection }: Shown) =>
    (document: Omit<GlobalDocument, "cell">): GlobalDocument => ({
      ...document,
      ...(cell === "" ? {} : { cell }),
      collection,
    });
  const require = (where: { cell?: string | undefined; collection: string }) => {
    const found = shownOf(where);
    if (found.length > 0) return found;
    const names = feeds.live({ cell: where.cell }).map(({ collection }) => collection);
    throw new SkerryError(unknownCollection(where.collection, new Set(names)));
  };

  /** What a cell sent of a collection that is written here too, is here when its answer says so. */
  const withAbsorbed = async <T>(
    cell: string,
    collections: readonly string[],
    work: () => T,
  ): Promise<T> => {
    let isNews = false;
    const result = await writer.write(() => {
      const answer = work();
      indexes.declare(cell, collections);
      for (const name of collections) if (published.absorb(name, cell)) isNews = true;
      return answer;
    });
    if (isNews) signals.emit("published", undefined);
    return result;
  };

  const store: GlobalDocumentStore = {
    async ingest(cell, bytes) {
      const batch = decodeLeaving(bytes);
      recheck.check(batch);
      return withAbsorbed(cell, Object.keys(batch.collections), () => feeds.ingest(cell, batch));
    },
    async fill(cell, bytes) {
      const piece = decodeLeavingSnapshot(bytes);
      recheck.checkSnapshot(piece);
      return withAbsorbed(cell, [piece.collection], () => feeds.fill(cell, piece));
    },
    async feeds(cell, wishes) {
      return feeds.states(cell, wishes);
    },
    async index(cell, paths) {
      indexes.want(cell, paths);
      const names = Object.keys(paths);
      if (indexes.differ(cell, names)) await writer.write(() => indexes.declare(cell, names));
    },
    async read({ collection, cell, id }) {
      if (cell === undefined && !published.has(collection)) {
        throw new SkerryError({
          code: "invalid-query",
          message: "cell: is missing: a hub holds the documents of many cells",
          hint: "name one with cell=NAME, or list those of all with id=ID on the collection",
        });
      }
      const [feed] = require({ collection, cell });
      const document = feed && readerOf(feed).read(feed.name, id);
      return feed && document && shown(feed)(document);
    },
    async list({ collection, cell, id, after, limit = listDefault, conflicted }) {
      const found = require({ collection, cell });
      const [afterCell = "", afterId = ""] = after === undefined ? [] : placeOf(after);
      const documents: GlobalDocument[] = [];
      for (const feed of found.filter((each) => each.cell >= afterCell)) {
        const reader = readerOf(feed);
        const { name } = feed;
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
      const countsOf = (name: string) => {
        const { documents = 0, conflicted = 0 } = counted.get(name) ?? {};
        return { documents, conflicted };
      };
      const ofCells = feeds.live({ cell }).filter(({ collection }) => !published.has(collection));
      const sent = ofCells.map((feed) => ({
        cell: feed.cell,
        name: feed.collection,
        ...countsOf(tables.collectionOf(feed)),
        waiting: tables.waitingOf(feed),
        renewing: feeds.isRenewing(feed),
      }));
      const given = published
        .feeds()
        .filter((feed) => cell === undefined || feed.cell === cell)
        .map((feed) => ({
          ...(feed.cell === "" ? {} : { cell: feed.cell }),
          name: feed.collection,
          ...countsOf(own.collectionOf(feed)),
          waiting: 0,
          renewing: false,
        }));
      return [...given, ...sent];
    },
    async publish({ indexes: paths, ...publication }) {
      if (!publication.fromCells && feeds.knows(publication.name)) {
        throw new SkerryError({
          code: "collection-of-cells",
          message: `name: cells have sent a collection "${publication.name}" to this hub`,
          hint: "publish under another name, or with fromCells: then cells write it too",
        });
      }
      await writer.write(() => {
        published.publish(publication);
        const name = ownNameOf(publication.name);
        if (paths === undefined || name === undefined) return;
        const kept = publication.fromCells ? base.indexesOf(name) : [];
        base.declareIndexes(name, [...new Set([...paths, ...kept])].slice(0, indexesMax));
      });
      signals.emit("published", undefined);
    },
    async publications() {
      return published.list().map((publication) => {
        const name = ownNameOf(publication.name);
        const paths = name === undefined ? [] : base.indexesOf(name);
        return paths.length > 0 ? { ...publication, indexes: paths } : publication;
      });
    },
    async write(request, given = {}) {
      const written = await writer.write(() => published.write(request, given));
      if (written.state === "refused")
        return { state: "refused", ...written.complaint, retryable: false };
      if (written.changed > 0) signals.emit("published", undefined);
      const { changed, warnings, versions } = written;
      return { state: "stored", changed, warnings, versions };
    },
    async pull(query) {
      // Most have everything: they cost no transaction.
      while (published.isDue(query)) {
        const bytes = await writer.write(() => published.pull({ ...query, bytesMax: pieceBytes }));
        if (bytes) return bytes;
      }
      return undefined;
    },
    on: (event, listener) => signals.on(event, listener),
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
      for (let more = true; more;)
        more = await writer.write(() => tables.sweep() || base.stepIndexes());
    },
    (error) =>
      log.warn("what a replaced copy left is removed later, or an index is made", { error }),
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

/**
 * Collections that are written at the hub and read in cells. The hub's own copy is one feed; each cell
 * that asks has another, with a log that its stores take like any other store's: one writer, without
 * gaps, from where they were. A document that matches the cell is written there as it is now; one that
 * no longer does is cleared and deleted there. What changes anything runs inside a transaction of its
 * owner; `forget` after one that was undone.
 */
import { SkerryError } from "../../lib/errors.ts";
import { checkWrites } from "../documents/check.ts";
import type { Engine } from "../documents/engine.ts";
import { valueAt, type Json, type JsonObject } from "../documents/json.ts";
import { namesOf } from "../documents/pointer.ts";
import type { CollectionDeclaration, DocumentWrite } from "../documents/store.ts";
import type { DocumentTables } from "../documents/tables.ts";
import { writeDocuments, type Written } from "../documents/writing.ts";
import type { Vector } from "../streams/store.ts";
import type { Publication, PullQuery } from "./documents.ts";

/** A copy of a published collection; of the hub itself when the cell is "". */
export type PublishedFeed = {
  readonly id: number;
  readonly cell: string;
  readonly collection: string;
  /** Of the hub's own copy, the change up to which this one was brought, */
  readonly upto: number;
  /** by this version of the filter. */
  readonly version: number;
};

/** The filter as it stands, counted from 1. */
export type PublishedFilter = Publication & { readonly version: number };

export interface PublishedTables {
  filters(): readonly PublishedFilter[];
  saveFilter(filter: PublishedFilter): void;
  feeds(): readonly PublishedFeed[];
  addFeed(feed: Omit<PublishedFeed, "id">): PublishedFeed;
  saveFeed(feed: PublishedFeed): void;
  tablesOf(feed: PublishedFeed): DocumentTables;
  /** Documents that changed since, in that order; the body is JSON, null once deleted. */
  changesOf(
    feed: PublishedFeed,
    since: number,
    limit: number,
  ): readonly { readonly id: string; readonly body: string | null; readonly change: number }[];
}

export interface Published {
  /** Declares a collection, or changes its filter. */
  publish(publication: Publication): void;
  list(): readonly Publication[];
  has(collection: string): boolean;
  /** The hub's own copy for "", or what a cell was given; undefined: nothing. */
  feed(collection: string, cell: string): PublishedFeed | undefined;
  feeds(): readonly PublishedFeed[];
  engineOf(feed: PublishedFeed): Engine;
  /** To the hub's own copy; all in one collection. */
  write(writes: readonly DocumentWrite[], key: string | undefined): Written;
  /** Whether `pull` has anything to do or to answer. */
  isDue(query: PullQuery): boolean;
  /** The next piece of a log that a cell's store lacks. Throws `hub-rolled-back`. */
  pull(query: PullQuery & { readonly bytesMax: number }): Uint8Array | undefined;
  forget(): void;
}

/** Documents that one pull looks at. */
const documentsPerPull = 200;

export function createPublished(deps: {
  tables: PublishedTables;
  openEngine: (feed: PublishedFeed) => Engine;
}): Published {
  const { tables } = deps;
  let filters = new Map<string, PublishedFilter>();
  /** By collection, then by cell. */
  let feeds = new Map<string, Map<string, PublishedFeed>>();
  let engines = new Map<number, Engine>();
  const put = (feed: PublishedFeed): PublishedFeed => {
    const byCell = feeds.get(feed.collection) ?? new Map<string, PublishedFeed>();
    feeds.set(feed.collection, byCell.set(feed.cell, feed));
    return feed;
  };
  const load = () => {
    filters = new Map(tables.filters().map((filter) => [filter.name, filter]));
    feeds = new Map();
    engines = new Map();
    for (const feed of tables.feeds()) put(feed);
  };
  load();
  const engineOf = (feed: PublishedFeed): Engine => {
    const engine = engines.get(feed.id) ?? deps.openEngine(feed);
    engines.delete(feed.id);
    engines.set(feed.id, engine);
    const [oldest] = engines.keys();
    if (engines.size > enginesMax && oldest !== undefined) engines.delete(oldest);
    return engine;
  };
  const feedOf = (collection: string, cell: string) => feeds.get(collection)?.get(cell);
  const ownOf = (collection: string): PublishedFeed | undefined => feedOf(collection, "");

  const writeTo = (feed: PublishedFeed, writes: readonly DocumentWrite[], key?: string): Written =>
    writeDocuments({ engine: engineOf(feed), tables: tables.tablesOf(feed) }, writes, {
      declared: declared(feed.collection),
      ...(key === undefined ? {} : { key }),
    });
  const changesSince = (own: PublishedFeed, copy: PublishedFeed, limit: number) => {
    // By another filter every document is looked at anew.
    const from = copy.version === filters.get(own.collection)?.version ? copy.upto : 0;
    return { from, rows: tables.changesOf(own, from, limit) };
  };
  const isBehind = (own: PublishedFeed, copy: PublishedFeed) =>
    changesSince(own, copy, 1).rows.length > 0;

  const bringUp = (own: PublishedFeed, copy: PublishedFeed, filter: PublishedFilter) => {
    const { from, rows } = changesSince(own, copy, documentsPerPull);
    const { collection, cell } = copy;
    for (const { id, body } of rows) {
      const whole = body === null ? undefined : (JSON.parse(body) as JsonObject);
      const at = { collection, id };
      if (whole && isFor(filter, cell, whole)) writeTo(copy, [{ ...at, do: "put", body: whole }]);
      else if (engineOf(copy).documents.shown(collection, id).body) {
        // Cleared first: a deletion alone keeps the values, for an edit that did not know of it.
        writeTo(copy, [{ ...at, do: "put", body: {} }]);
        writeTo(copy, [{ ...at, do: "delete" }]);
      }
    }
    const brought = { ...copy, version: filter.version, upto: rows.at(-1)?.change ?? from };
    tables.saveFeed(brought);
    return put(brought);
  };

  const wanted = ({ collections }: PullQuery) =>
    collections.flatMap((name) => {
      const filter = filters.get(name);
      const own = ownOf(name);
      return filter && own ? [{ filter, own }] : [];
    });
  const lacks = (copy: PublishedFeed, vector: Vector): boolean => {
    const { own } = engineOf(copy);
    return own.stored !== (vector[own.name] ?? 0);
  };

  return {
    publish(publication) {
      const { name } = publication;
      const filter = { ...publication, version: (filters.get(name)?.version ?? 0) + 1 };
      tables.saveFilter(filter);
      filters.set(name, filter);
      if (ownOf(name)) return;
      // Opened here, so that reading never writes.
      engineOf(put(tables.addFeed({ collection: name, cell: "", upto: 0, version: 0 })));
    },
    list: () => [...filters.values()].map(publicationOf),
    has: (collection) => filters.has(collection),
    feed: feedOf,
    feeds: () => [...feeds.values()].flatMap((byCell) => [...byCell.values()]),
    engineOf,
    write(writes, key) {
      const [first] = writes;
      const collections = new Map([...filters.keys()].flatMap((name) => [...declared(name)]));
      const complaint = checkWrites(writes, key, collections);
      if (complaint) return { state: "refused", complaint };
      const own = first && ownOf(first.collection);
      if (!own || writes.some(({ collection }) => collection !== first.collection))
        return { state: "refused", complaint: oneCollection };
      return writeTo(own, writes, key);
    },
    isDue(query) {
      return wanted(query).some(({ own }) => {
        const copy = feedOf(own.collection, query.cell);
        return !copy || isBehind(own, copy) || lacks(copy, query.vector);
      });
    },
    pull(query) {
      const { cell, vector, bytesMax } = query;
      for (const { own, filter } of wanted(query)) {
        const { collection } = own;
        let copy =
          feedOf(collection, cell) ??
          put(tables.addFeed({ collection, cell, upto: 0, version: filter.version }));
        if (isBehind(own, copy)) copy = bringUp(own, copy, filter);
        const log = engineOf(copy).own;
        const has = vector[log.name] ?? 0;
        if (has > log.stored) throw rolledBack(collection, cell, { has, stored: log.stored });
        const piece = engineOf(copy).log({ origin: log.name, from: has + 1, bytesMax });
        if (piece) return piece.bytes;
      }
      return undefined;
    },
    forget: load,
  };
}

/** Engines kept in memory; all that they know stands in their tables. */
const enginesMax = 256;

/** What a cell's node takes as a log of the hub, and as no node's. */
export const hubOriginPrefix = "@hub.";

const publicationOf = ({ name, cells, cellField }: PublishedFilter): Publication => ({
  name,
  ...(cells === undefined ? {} : { cells }),
  ...(cellField === undefined ? {} : { cellField }),
});

const declared = (name: string): ReadonlyMap<string, CollectionDeclaration> =>
  new Map([[name, { name, schemaVersion: 1, onMismatch: "warn", fields: [] }]]);

function isFor({ cells, cellField }: Publication, cell: string, body: JsonObject): boolean {
  if (cells && !cells.includes(cell)) return false;
  if (cellField === undefined) return true;
  const named: Json | undefined = valueAt(body, namesOf(cellField));
  return Array.isArray(named) ? named.includes(cell) : named === cell;
}

const oneCollection = {
  code: "invalid-document",
  message: "writes: all of one request must be in one collection at the hub",
};

const rolledBack = (
  collection: string,
  cell: string,
  { has, stored }: { has: number; stored: number },
) =>
  new SkerryError({
    code: "hub-rolled-back",
    message: `cell ${cell} has ${has} operations of ${collection} from this hub, which knows of ${stored}`,
    hint: "the hub's folder is an older copy; put the newer one back, or publish under another name",
  });

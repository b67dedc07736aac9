/**
 * Collections that are written at the hub and read in cells. The hub's own copy is one feed; each cell
 * that asks has another, with a log that its stores take like any other store's: one writer, without
 * gaps, from where they were. A document that matches the cell is written there as it is now; one that
 * no longer does is cleared and deleted there. Where cells write too, what a cell sent is absorbed into
 * its copy and the hub's own (`absorbing.ts`), and goes from there to the others. What changes anything runs inside a transaction of its
 * owner; `forget` after one that was undone.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { EgressPolicy } from "../../api/records/index.ts";
import { checkWrites } from "../documents/check.ts";
import type { Engine } from "../documents/engine.ts";
import type { JsonObject } from "../documents/json.ts";
import { writeKeyOf } from "../documents/once.ts";
import type { DocumentWrite, GivenKey } from "../documents/store.ts";
import type { DocumentTables } from "../documents/tables.ts";
import { writeDocuments, type Written } from "../documents/writing.ts";
import type { Vector } from "../streams/store.ts";
import { declared, isFor, publicationOf, type PublishedFilter } from "./filter.ts";
import { absorb, carry, type Absorbed, type Carried, type CellCopy } from "./absorbing.ts";
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
  /** Where cells write too: what of the cell is in it. */
  readonly absorbed?: Absorbed;
};

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
  /** Whether cells write it too. */
  isFromCells(collection: string): boolean;
  /** Takes over what a cell has sent; whether anything of the hub's own is different now. */
  absorb(collection: string, cell: string): boolean;
  /** The hub's own copy for "", or what a cell was given; undefined: nothing. */
  feed(collection: string, cell: string): PublishedFeed | undefined;
  feeds(): readonly PublishedFeed[];
  engineOf(feed: PublishedFeed): Engine;
  /** To the hub's own copy; all in one collection. */
  write(writes: readonly DocumentWrite[], given: GivenKey): Written;
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
  /** What readers would have of a cell's collection. */
  copyOf: (at: Pick<PublishedFeed, "cell" | "collection">) => CellCopy | undefined;
  lets: (policy: EgressPolicy) => (path: string) => boolean;
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

  const partsOf = (feed: PublishedFeed) => ({
    engine: engineOf(feed),
    tables: tables.tablesOf(feed),
  });
  const declaredBy = (name: string) => declared(name, filters.get(name));
  /** What was taken once is not refused now. */
  const takeTo = (feed: PublishedFeed, write: DocumentWrite) => {
    const options = { declared: declaredBy(feed.collection), isAgain: true };
    const written = writeDocuments(partsOf(feed), [write], options);
    return written.state === "written" && written.changed > 0;
  };
  const changesSince = (own: PublishedFeed, copy: PublishedFeed, limit: number) => {
    // By another filter every document is looked at anew.
    const from = copy.version === filters.get(own.collection)?.version ? copy.upto : 0;
    return { from, rows: tables.changesOf(own, from, limit) };
  };
  const isBehind = (own: PublishedFeed, copy: PublishedFeed) =>
    changesSince(own, copy, 1).rows.length > 0;

  /** The cell has the document as it is, or has it no more. */
  const give = (
    copy: PublishedFeed,
    filter: PublishedFilter,
    { id, body }: { id: string; body: JsonObject | undefined },
  ) => {
    const { collection, cell } = copy;
    const at = { collection, id };
    if (body && isFor(filter, cell, body)) takeTo(copy, { ...at, do: "put", body });
    else if (engineOf(copy).documents.shown(collection, id).body) {
      // Cleared first: a deletion alone keeps the values, for an edit that did not know of it. Where
      // cells edit, such an edit is to bring back what was deleted, but not what only left.
      if (body || !filter.fromCells) takeTo(copy, { ...at, do: "put", body: {} });
      takeTo(copy, { ...at, do: "delete" });
    }
  };
  const bringUp = (own: PublishedFeed, copy: PublishedFeed, filter: PublishedFilter) => {
    const { from, rows } = changesSince(own, copy, documentsPerPull);
    for (const { id, body } of rows)
      give(copy, filter, {
        id,
        body: body === null ? undefined : (JSON.parse(body) as JsonObject),
      });
    const brought = { ...copy, version: filter.version, upto: rows.at(-1)?.change ?? from };
    tables.saveFeed(brought);
    return put(brought);
  };

  const isToAbsorb = (copy: PublishedFeed): boolean => {
    const { collection, absorbed } = copy;
    const from = filters.get(collection)?.fromCells ? deps.copyOf(copy) : undefined;
    if (!from) return false;
    const since = absorbed?.copy === from.id ? absorbed.upto : 0;
    return from.tables.changes({ collection, since, limit: 1 }).length > 0;
  };
  const addCopy = (own: PublishedFeed, cell: string, { version }: PublishedFilter) =>
    put(tables.addFeed({ collection: own.collection, cell, upto: 0, version }));
  /** To the hub's own; whether it is different now. */
  const carryOver = (own: PublishedFeed, { id, before, after, isDeleted }: Carried): boolean => {
    const { collection } = own;
    const onto = engineOf(own).documents.shown(collection, id).body;
    if (after === undefined)
      return (before !== undefined || isDeleted) && takeTo(own, { collection, id, do: "delete" });
    const fields = filters.get(collection)?.fromCells?.fields ?? [];
    const body = carry({ before, after, onto }, fields) as JsonObject | undefined;
    return body !== undefined && takeTo(own, { collection, id, do: "put", body });
  };
  const absorbFrom = (collection: string, cell: string): boolean => {
    const filter = filters.get(collection);
    const own = ownOf(collection);
    const from = filter?.fromCells && deps.copyOf({ collection, cell });
    if (!filter || !own || !from) return false;
    let copy = feedOf(collection, cell) ?? addCopy(own, cell, filter);
    if (!isToAbsorb(copy)) return false;
    // Otherwise what the hub wrote meanwhile would be taken for the cell's. The rest waits for a pull.
    for (let pieces = 0; pieces < piecesMax && isBehind(own, copy); pieces++)
      copy = bringUp(own, copy, filter);
    if (isBehind(own, copy)) return false;
    const to = { engine: engineOf(copy), tables: tables.tablesOf(copy) };
    const { carried, absorbed } = absorb({ collection, from, to, lets: deps.lets }, copy.absorbed);
    let isChanged = false;
    for (const each of carried) if (carryOver(own, each)) isChanged = true;
    for (const { id } of carried)
      give(copy, filter, { id, body: engineOf(own).documents.shown(collection, id).body });
    const saved = { ...copy, absorbed };
    tables.saveFeed(saved);
    put(saved);
    return isChanged;
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
    isFromCells: (collection) => filters.get(collection)?.fromCells !== undefined,
    absorb: absorbFrom,
    feed: feedOf,
    feeds: () => [...feeds.values()].flatMap((byCell) => [...byCell.values()]),
    engineOf,
    write(writes, given) {
      const [first] = writes;
      const collections = new Map([...filters.keys()].flatMap((name) => [...declaredBy(name)]));
      const complaint = checkWrites(writes, given.key, collections);
      if (complaint) return { state: "refused", complaint };
      const own = first && ownOf(first.collection);
      if (!own || writes.some(({ collection }) => collection !== first.collection))
        return { state: "refused", complaint: oneCollection };
      return writeDocuments(partsOf(own), writes, {
        declared: declaredBy(own.collection),
        key: writeKeyOf(given, writes),
      });
    },
    isDue(query) {
      return wanted(query).some(({ own }) => {
        const copy = feedOf(own.collection, query.cell);
        return !copy || isBehind(own, copy) || isToAbsorb(copy) || lacks(copy, query.vector);
      });
    },
    pull(query) {
      const { cell, vector, bytesMax } = query;
      for (const { own, filter } of wanted(query)) {
        const { collection } = own;
        let copy = feedOf(collection, cell) ?? addCopy(own, cell, filter);
        if (isBehind(own, copy)) copy = bringUp(own, copy, filter);
        else absorbFrom(collection, cell);
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

/** Pieces of the hub's own documents that are given to a cell before what it sent is taken. */
const piecesMax = 5;

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

/** Published collections in the tables that a node has, beside what cells send (`feed-tables.ts`). */
import type { EgressPolicy } from "../../../api/records/index.ts";
import type { SqlDatabase } from "../../../runtime/sqlite/index.ts";
import type { SqliteTables } from "../../documents/sqlite-tables.ts";
import type { MergedField } from "../documents.ts";
import type { PublishedFeed, PublishedTables } from "../published.ts";
import { scopedTables } from "./scoped-tables.ts";

export type SqlitePublishedTables = PublishedTables & {
  /** The name of a feed's documents in the tables. */
  collectionOf(feed: Pick<PublishedFeed, "id">): string;
  /** The log that this hub writes for a feed: another after the file was made anew. */
  originOf(feed: PublishedFeed): string;
};

export function createPublishedTables(
  db: SqlDatabase,
  base: SqliteTables,
  options: { prefix: string; instance: string },
): SqlitePublishedTables {
  db.exec(`CREATE TABLE IF NOT EXISTS published(
    name TEXT PRIMARY KEY, cells TEXT, cell_field TEXT, version INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS published_feed(
    id INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, cell TEXT NOT NULL,
    upto INTEGER NOT NULL, version INTEGER NOT NULL, UNIQUE(collection, cell));
  -- Of collections that cells write too: how fields merge, and what of which copy a feed has taken.
  CREATE TABLE IF NOT EXISTS published_fields(name TEXT PRIMARY KEY, fields TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS published_absorbed(
    feed INTEGER PRIMARY KEY, copy INTEGER NOT NULL, upto INTEGER NOT NULL, policy TEXT NOT NULL)`);
  db.prepare("INSERT OR IGNORE INTO meta VALUES ('instance', ?)").run(options.instance);
  const instance = String(
    db.prepare("SELECT value FROM meta WHERE name = 'instance'").get()?.["value"],
  );
  const statements = {
    filters: db.prepare(
      "SELECT * FROM published LEFT JOIN published_fields USING (name) ORDER BY name",
    ),
    saveFields: db.prepare("INSERT OR REPLACE INTO published_fields VALUES (?, ?)"),
    dropFields: db.prepare("DELETE FROM published_fields WHERE name = ?"),
    saveFilter: db.prepare("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)"),
    feeds: db.prepare(
      `SELECT published_feed.*, absorbed.copy, absorbed.upto AS absorbed, absorbed.policy
       FROM published_feed LEFT JOIN published_absorbed AS absorbed ON absorbed.feed = id ORDER BY id`,
    ),
    saveAbsorbed: db.prepare("INSERT OR REPLACE INTO published_absorbed VALUES (?, ?, ?, ?)"),
    addFeed: db.prepare(
      "INSERT INTO published_feed(collection, cell, upto, version) VALUES (?, ?, ?, ?) RETURNING id",
    ),
    saveFeed: db.prepare("UPDATE published_feed SET upto = ?, version = ? WHERE id = ?"),
  };
  const collectionOf = ({ id }: Pick<PublishedFeed, "id">) => `p${id}`;

  return {
    collectionOf,
    originOf: ({ collection, id }) => `${options.prefix}${collection}.${id}.${instance}`,
    filters: () =>
      statements.filters.all().map((row) => ({
        name: String(row["name"]),
        ...(row["cells"] === null ? {} : { cells: JSON.parse(String(row["cells"])) as string[] }),
        ...(row["cell_field"] === null ? {} : { cellField: String(row["cell_field"]) }),
        ...(row["fields"] === null
          ? {}
          : { fromCells: { fields: JSON.parse(String(row["fields"])) as MergedField[] } }),
        version: Number(row["version"]),
      })),
    saveFilter({ name, cells, cellField, fromCells, version }) {
      const listed = cells === undefined ? null : JSON.stringify(cells);
      statements.saveFilter.run(name, listed, cellField ?? null, version);
      if (fromCells) statements.saveFields.run(name, JSON.stringify(fromCells.fields));
      else statements.dropFields.run(name);
    },
    feeds: () =>
      statements.feeds.all().map((row) => ({
        id: Number(row["id"]),
        collection: String(row["collection"]),
        cell: String(row["cell"]),
        upto: Number(row["upto"]),
        version: Number(row["version"]),
        ...(row["copy"] === null
          ? {}
          : {
              absorbed: {
                copy: Number(row["copy"]),
                upto: Number(row["absorbed"]),
                policy: JSON.parse(String(row["policy"])) as EgressPolicy,
              },
            }),
      })),
    addFeed(feed) {
      const { collection, cell, upto, version } = feed;
      const row = statements.addFeed.get(collection, cell, upto, version);
      return { ...feed, id: Number(row?.["id"]) };
    },
    saveFeed({ id, upto, version, absorbed }) {
      statements.saveFeed.run(upto, version, id);
      if (!absorbed) return;
      const { copy, policy } = absorbed;
      statements.saveAbsorbed.run(id, copy, absorbed.upto, JSON.stringify(policy));
    },
    tablesOf: (feed) =>
      scopedTables(base, { scope: `${collectionOf(feed)} `, collection: collectionOf(feed) }),
    changesOf: (feed, since, limit) =>
      base.changes({ collection: collectionOf(feed), since, limit }),
  };
}

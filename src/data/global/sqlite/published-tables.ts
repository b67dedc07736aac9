/** Published collections in the tables that a node has, beside what cells send (`feed-tables.ts`). */
import type { Database } from "../../../runtime/sqlite/index.ts";
import type { SqliteTables } from "../../documents/sqlite-tables.ts";
import type { PublishedFeed, PublishedTables } from "../published.ts";
import { scopedTables } from "./scoped-tables.ts";

export type SqlitePublishedTables = PublishedTables & {
  /** The name of a feed's documents in the tables. */
  collectionOf(feed: Pick<PublishedFeed, "id">): string;
  /** The log that this hub writes for a feed: another after the file was made anew. */
  originOf(feed: PublishedFeed): string;
};

export function createPublishedTables(
  db: Database,
  base: SqliteTables,
  options: { prefix: string; instance: string },
): SqlitePublishedTables {
  db.exec(`CREATE TABLE IF NOT EXISTS published(
    name TEXT PRIMARY KEY, cells TEXT, cell_field TEXT, version INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS published_feed(
    id INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, cell TEXT NOT NULL,
    upto INTEGER NOT NULL, version INTEGER NOT NULL, UNIQUE(collection, cell))`);
  db.prepare("INSERT OR IGNORE INTO meta VALUES ('instance', ?)").run(options.instance);
  const instance = String(
    db.prepare("SELECT value FROM meta WHERE name = 'instance'").get()?.["value"],
  );
  const statements = {
    filters: db.prepare("SELECT * FROM published ORDER BY name"),
    saveFilter: db.prepare("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)"),
    feeds: db.prepare("SELECT * FROM published_feed ORDER BY id"),
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
        version: Number(row["version"]),
      })),
    saveFilter: ({ name, cells, cellField, version }) =>
      void statements.saveFilter.run(
        name,
        cells === undefined ? null : JSON.stringify(cells),
        cellField ?? null,
        version,
      ),
    feeds: () =>
      statements.feeds.all().map((row) => ({
        id: Number(row["id"]),
        collection: String(row["collection"]),
        cell: String(row["cell"]),
        upto: Number(row["upto"]),
        version: Number(row["version"]),
      })),
    addFeed(feed) {
      const { collection, cell, upto, version } = feed;
      const row = statements.addFeed.get(collection, cell, upto, version);
      return { ...feed, id: Number(row?.["id"]) };
    },
    saveFeed: ({ id, upto, version }) => void statements.saveFeed.run(upto, version, id),
    tablesOf: (feed) =>
      scopedTables(base, { scope: `${collectionOf(feed)} `, collection: collectionOf(feed) }),
    changesOf: (feed, since, limit) =>
      base.changes({ collection: collectionOf(feed), since, limit }),
  };
}

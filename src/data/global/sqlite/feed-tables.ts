/**
 * Feeds in the tables that a node has: a feed's origins begin with its number, and its documents are
 * the collection that is called so.
 */
import type { SqlDatabase } from "../../../runtime/sqlite/index.ts";
import type { SqliteTables } from "../../documents/sqlite-tables.ts";
import type { Feed, FeedTables } from "../feed-book.ts";
import { scopedTables } from "./scoped-tables.ts";

export type SqliteFeedTables = FeedTables & {
  /** The name of its documents in the tables. */
  collectionOf(feed: Pick<Feed, "id">): string;
  waitingOf(feed: Pick<Feed, "id">): number;
  /** Removes some rows of feeds that were dropped; false when there are none left. */
  sweep(): boolean;
};

/** Rows in one step: what a commit may hold up the thread for. */
const sweepRows = 5000;

export function createFeedTables(db: SqlDatabase, base: SqliteTables): SqliteFeedTables {
  // A number is never used again: rows of a dropped feed may still be there.
  db.exec(`CREATE TABLE IF NOT EXISTS feed(
    id INTEGER PRIMARY KEY AUTOINCREMENT, cell TEXT NOT NULL, collection TEXT NOT NULL,
    shape TEXT NOT NULL, kinds INTEGER NOT NULL, revision INTEGER NOT NULL, policy TEXT NOT NULL,
    state TEXT NOT NULL)`);
  const statements = {
    feeds: db.prepare("SELECT * FROM feed WHERE state <> 'dropped' ORDER BY id"),
    add: db.prepare(
      `INSERT INTO feed(cell, collection, shape, kinds, revision, policy, state)
       VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
    ),
    save: db.prepare("UPDATE feed SET shape = ?, revision = ?, kinds = ?, state = ? WHERE id = ?"),
    drop: db.prepare("UPDATE feed SET state = 'dropped' WHERE id = ?"),
    dropped: db.prepare("SELECT id FROM feed WHERE state = 'dropped' LIMIT 1"),
    remove: db.prepare("DELETE FROM feed WHERE id = ?"),
    waiting: db.prepare(
      "SELECT sum(stored - applied) AS n FROM origin WHERE name >= ? AND name < ?",
    ),
  };
  const scopeOf = ({ id }: Pick<Feed, "id">) => `${id} `;
  const collectionOf = ({ id }: Pick<Feed, "id">) => String(id);
  const stateOf = ({ live }: Pick<Feed, "live">) => (live ? "live" : "filled");

  return {
    collectionOf,
    feeds: () =>
      statements.feeds.all().map((row) => ({
        id: Number(row["id"]),
        cell: String(row["cell"]),
        collection: String(row["collection"]),
        shape: String(row["shape"]),
        kinds: Number(row["kinds"]),
        revision: Number(row["revision"]),
        policy: JSON.parse(String(row["policy"])) as Feed["policy"],
        live: row["state"] === "live",
      })),
    addFeed(feed) {
      const { cell, collection, shape, kinds, revision, policy } = feed;
      const row = statements.add.get(
        cell,
        collection,
        shape,
        kinds,
        revision,
        JSON.stringify(policy),
        stateOf(feed),
      );
      return { ...feed, id: Number(row?.["id"]) };
    },
    saveFeed(feed) {
      const { id, shape, revision, kinds } = feed;
      statements.save.run(shape, revision, kinds, stateOf(feed), id);
    },
    dropFeed: ({ id }) => void statements.drop.run(id),
    tablesOf: (feed) =>
      scopedTables(base, { scope: scopeOf(feed), collection: collectionOf(feed) }),
    waitingOf(feed) {
      const scope = scopeOf(feed);
      return Number(statements.waiting.get(scope, `${scope}\u{10FFFF}`)?.["n"] ?? 0);
    },
    sweep() {
      const row = statements.dropped.get();
      if (!row) return false;
      const feed = { id: Number(row["id"]) };
      if (!base.removeSome(collectionOf(feed), scopeOf(feed), sweepRows))
        statements.remove.run(feed.id);
      return true;
    },
  };
}

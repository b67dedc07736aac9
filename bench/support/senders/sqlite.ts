/**
 * The ceiling: what was handed over goes into one transaction of bare `node:sqlite`, with the same
 * fsync (WAL, synchronous=FULL) and nothing else: no network, no index, no keys, no streams.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { OpenSender } from "../load.ts";
import { payload } from "./payload.ts";

export const sqliteSender =
  (folder: string): OpenSender =>
  async ({ acked }) => {
    const db = new DatabaseSync(join(folder, "bare.db"));
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec(
      "CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, stream INTEGER, at_ms INTEGER, body BLOB)",
    );
    const insert = db.prepare("INSERT INTO entry(stream, at_ms, body) VALUES (?, ?, ?)");
    return {
      groupEntries: 1,
      send(first, count) {
        db.exec("BEGIN IMMEDIATE");
        for (let index = 0; index < count; index++) insert.run(1, 1_700_000_000_000, payload);
        db.exec("COMMIT");
        acked(first, count);
      },
      async close() {
        db.close();
      },
    };
  };

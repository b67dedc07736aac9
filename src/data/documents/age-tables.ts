/** Ages in the tables of a store of documents, and what has not been changed for long. */
import type { Database } from "../../runtime/sqlite/index.ts";
import type { AgeTables } from "./ages.ts";
import type { Unchanged, UnchangedQuery } from "./expiry.ts";
import type { DocumentTables } from "./tables.ts";

export function createAgeTables(
  db: Database,
  { lastChange }: Pick<DocumentTables, "lastChange">,
): AgeTables & {
  unchanged(query: UnchangedQuery): Unchanged[];
} {
  const marks = db.prepare("SELECT first_change, age_ms FROM age_mark ORDER BY first_change");
  const add = db.prepare("INSERT OR REPLACE INTO age_mark VALUES (?, ?)");
  const drop = db.prepare("DELETE FROM age_mark WHERE first_change = ?");
  const age = db.prepare("SELECT value FROM meta WHERE name = 'age_ms'");
  const setAge = db.prepare("INSERT OR REPLACE INTO meta VALUES ('age_ms', ?)");
  const unchanged = db.prepare(
    `SELECT id, change, body IS NOT NULL AS there FROM document
     WHERE collection = (SELECT id FROM collection WHERE name = ?) AND change > ? AND change < ?
     ORDER BY change LIMIT ?`,
  );
  return {
    ageMarks: () =>
      marks.all().map((row) => ({
        firstChange: Number(row["first_change"]),
        ageMs: Number(row["age_ms"]),
      })),
    addAgeMark: ({ firstChange, ageMs }) => void add.run(firstChange, Math.ceil(ageMs)),
    dropAgeMark: ({ firstChange }) => void drop.run(firstChange),
    storeAgeMs: () => Number(age.get()?.["value"] ?? 0),
    setStoreAgeMs: (ageMs) => void setAge.run(Math.floor(ageMs)),
    lastChange,
    unchanged: ({ collection, since, below, limit }) =>
      unchanged.all(collection, since, below, limit).map((row) => ({
        id: String(row["id"]),
        change: Number(row["change"]),
        isThere: Number(row["there"]) === 1,
      })),
  };
}

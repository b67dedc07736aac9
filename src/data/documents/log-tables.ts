/**
 * The tables of logs: of each origin how far it is here, what it had seen, and its operations. Many
 * stores may share a file; the origins of one begin with its scope.
 */
import type { SqlDatabase } from "../../runtime/sqlite/index.ts";
import type { DocumentTables, OriginRow } from "./tables.ts";

export type LogTables = Pick<
  DocumentTables,
  | "addOrigin"
  | "saveOrigin"
  | "saveSeen"
  | "addOperation"
  | "operations"
  | "dropOperations"
  | "forgetOperations"
> & {
  /** All, or those whose names begin so. */
  origins(scope?: string): OriginRow[];
  /** As if nothing had been applied of these. */
  clearSeen(scope: string): void;
  /** Some of them; false when there were none. */
  removeOperations(scope: string, rowsMax: number): boolean;
  removeOrigins(scope: string): void;
};

export function createLogTables(db: SqlDatabase): LogTables {
  const statements = {
    origins: db.prepare(
      `SELECT id, name, stored, applied, hlc, floor, bytes FROM origin
       WHERE name >= ? AND name < ? ORDER BY id`,
    ),
    seen: db.prepare(
      `SELECT origin, other, upto FROM seen
       WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?)`,
    ),
    addOrigin: db.prepare("INSERT INTO origin(name) VALUES (?) RETURNING id"),
    saveOrigin: db.prepare(
      "UPDATE origin SET stored = ?, applied = ?, hlc = ?, floor = ?, bytes = ? WHERE id = ?",
    ),
    saveSeen: db.prepare("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)"),
    addOperation: db.prepare("INSERT INTO operation VALUES (?, ?, ?)"),
    operations: db.prepare(
      // From the one that holds the position: at the hub one may cover several.
      `SELECT sequence, text FROM operation WHERE origin = ?1 AND sequence >=
         coalesce((SELECT max(sequence) FROM operation WHERE origin = ?1 AND sequence <= ?2), ?2)
       ORDER BY sequence`,
    ),
    bytesAfter: db.prepare(
      "SELECT sum(length(text)) AS bytes FROM operation WHERE origin = ? AND sequence > ?",
    ),
    dropOperations: db.prepare("DELETE FROM operation WHERE origin = ? AND sequence > ?"),
    oldest: db.prepare(
      `SELECT max(sequence) AS upto, sum(bytes) AS bytes FROM (
         SELECT sequence, length(text) AS bytes FROM operation
         WHERE origin = ? AND sequence <= ? ORDER BY sequence LIMIT ?) AS oldest`,
    ),
    forgetOperations: db.prepare("DELETE FROM operation WHERE origin = ? AND sequence <= ?"),
    clearSeen: db.prepare(
      "DELETE FROM seen WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?)",
    ),
    removeOperations: db.prepare(
      `DELETE FROM operation WHERE (origin, sequence) IN
         (SELECT origin, sequence FROM operation
          WHERE origin IN (SELECT id FROM origin WHERE name >= ? AND name < ?) LIMIT ?)
       RETURNING origin`,
    ),
    removeOrigins: db.prepare("DELETE FROM origin WHERE name >= ? AND name < ?"),
  };

  return {
    origins(scope = "") {
      const rows = statements.origins.all(...rangeOf(scope)).map((row): OriginRow => ({
        id: Number(row["id"]),
        name: String(row["name"]),
        stored: Number(row["stored"]),
        applied: Number(row["applied"]),
        hlc: Number(row["hlc"]),
        floor: Number(row["floor"]),
        bytes: Number(row["bytes"]),
        seen: new Map(),
      }));
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const { origin, other, upto } of statements.seen.all(...rangeOf(scope)))
        byId.get(Number(origin))?.seen.set(String(other), Number(upto));
      return rows;
    },
    addOrigin(name) {
      const id = Number(statements.addOrigin.get(name)?.["id"]);
      return { id, name, stored: 0, applied: 0, hlc: 0, floor: 0, bytes: 0, seen: new Map() };
    },
    saveOrigin: ({ id, stored, applied, hlc, floor, bytes }) =>
      void statements.saveOrigin.run(stored, applied, hlc, floor, bytes, id),
    saveSeen: ({ id }, other, upto) => void statements.saveSeen.run(id, other, upto),
    addOperation: ({ id }, { sequence, text }) =>
      void statements.addOperation.run(id, sequence, text),
    operations({ id }, from, bytesMax) {
      const found: { sequence: number; text: string }[] = [];
      let bytes = 0;
      for (const { sequence, text } of statements.operations.iterate(id, from)) {
        found.push({ sequence: Number(sequence), text: String(text) });
        bytes += String(text).length;
        if (bytes >= bytesMax) break;
      }
      return found;
    },
    dropOperations({ id }, after) {
      const bytes = Number(statements.bytesAfter.get(id, after)?.["bytes"] ?? 0);
      statements.dropOperations.run(id, after);
      return bytes;
    },
    forgetOperations({ id }, until, rowsMax) {
      const found = statements.oldest.get(id, until, rowsMax);
      const upto = Number(found?.["upto"] ?? 0);
      statements.forgetOperations.run(id, upto);
      return { upto, bytes: Number(found?.["bytes"] ?? 0) };
    },
    clearSeen: (scope) => void statements.clearSeen.run(...rangeOf(scope)),
    removeOperations: (scope, rowsMax) =>
      statements.removeOperations.all(...rangeOf(scope), rowsMax).length > 0,
    removeOrigins: (scope) => void statements.removeOrigins.run(...rangeOf(scope)),
  };
}

/** Names that begin so: from, and before. */
const rangeOf = (scope: string) => [scope, `${scope}\u{10FFFF}`] as const;

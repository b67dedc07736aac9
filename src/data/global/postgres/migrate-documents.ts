/**
 * The documents of a hub from its SQLite file into PostgreSQL: the tables are the same, so their rows
 * are copied as they are, in one transaction, and counted on both sides before it is committed.
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { silentLog } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import {
  openPostgres,
  type PostgresAddress,
  type Session,
} from "../../../runtime/postgres/index.ts";
import { openDatabase, type Database } from "../../../runtime/sqlite/index.ts";
import type { OperationRecheck } from "../../ports.ts";
import { openGlobalDocuments } from "../sqlite/documents.ts";
import { openPostgresDocuments } from "./documents.ts";

/** `counted`: by a number of their own that goes on. */
const tables: readonly { readonly name: string; readonly counted?: boolean }[] = [
  { name: "meta" },
  { name: "origin", counted: true },
  { name: "seen" },
  { name: "operation" },
  { name: "collection", counted: true },
  { name: "document" },
  { name: "write_key", counted: true },
  { name: "staged" },
  { name: "staged_key" },
  { name: "feed", counted: true },
  { name: "published" },
  { name: "published_fields" },
  { name: "published_feed", counted: true },
  { name: "published_absorbed" },
];
/** What says in `meta` which file these rows are of. */
const sourceName = "migrated";
const pieceBytes = 1024 * 1024;

/**
 * `source` names the file among all. Run again it begins anew. Throws `hub-not-empty` when documents of
 * another origin are there, `migration-differs`, and what either store throws.
 */
export async function migrateDocuments(
  deps: { clock: Clock; random: Random; recheck: OperationRecheck },
  options: { path: string; source: string; address: PostgresAddress; signal: AbortSignal },
): Promise<{ readonly documents: number }> {
  const { path, source, address, signal } = options;
  const parts = { ...deps, log: silentLog };
  // Both are brought to the layout of this version.
  await openGlobalDocuments(parts, { path }).close();
  await (await openPostgresDocuments(parts, { address })).close();
  const db = openDatabase(path);
  const postgres = await openPostgres({ clock: deps.clock, log: silentLog }, address, {
    application: "skerry-migrate",
    connectionsMax: 1,
    timeoutMs: 3_600_000,
  });
  try {
    return await postgres.transaction(async (session) => {
      await session.script(
        `SET LOCAL search_path = skerry_documents; SET LOCAL statement_timeout = 0;
         SET LOCAL idle_in_transaction_session_timeout = 0;
         SELECT version FROM changed FOR UPDATE`,
      );
      await refuseOthers(session, { source, place: postgres.place });
      const names = tables.map(({ name }) => name);
      await session.script(
        `TRUNCATE ${names.join(", ")}, document_index, document_key; ALTER TABLE document DISABLE TRIGGER USER`,
      );
      for (const { name, counted } of tables) {
        await copy(session, db, { name, signal });
        if (counted) await goOn(session, db, name);
      }
      await session.script(
        `ALTER TABLE document ENABLE TRIGGER USER; UPDATE changed SET version = version + 1`,
      );
      await session.query("INSERT INTO meta VALUES ($1, $2)", [sourceName, source]);
      const [row] = await session.query("SELECT count(body) AS documents FROM document");
      return { documents: Number(row?.["documents"]) };
    });
  } finally {
    db.close();
    await postgres.close();
  }
}

async function refuseOthers(
  session: Session,
  { source, place }: { source: string; place: string },
): Promise<void> {
  const [there] = await session.query(
    `SELECT (SELECT value FROM meta WHERE name = $1) AS source,
       EXISTS (SELECT FROM feed) OR EXISTS (SELECT FROM published) AS taken`,
    [sourceName],
  );
  if (!there?.["taken"] || there["source"] === source) return;
  throw new SkerryError({
    code: "hub-not-empty",
    message: `PostgreSQL at ${place} has documents already`,
    hint: "name an empty database; documents that the other one took are sent again by their cells",
  });
}

async function copy(
  session: Session,
  db: Database,
  { name, signal }: { name: string; signal: AbortSignal },
): Promise<void> {
  const count = Number(db.prepare(`SELECT count(*) AS n FROM ${name}`).get()?.["n"]);
  const columns = db
    .prepare("SELECT name FROM pragma_table_info(?)")
    .all(name)
    .map((row) => String(row["name"]))
    .join(", ");
  let rows: string[] = [];
  let bytes = 0;
  const put = async () => {
    signal.throwIfAborted();
    await session.query(
      `INSERT INTO ${name}(${columns})
       SELECT ${columns} FROM json_populate_recordset(NULL::skerry_documents.${name}, $1::json)`,
      [`[${rows.join(",")}]`],
    );
    rows = [];
    bytes = 0;
  };
  for (const row of db.prepare(`SELECT ${columns} FROM ${name}`).iterate()) {
    const text = JSON.stringify(row);
    rows.push(text);
    bytes += text.length;
    if (bytes >= pieceBytes) await put();
  }
  await put();
  const [there] = await session.query(`SELECT count(*) AS n FROM ${name}`);
  if (Number(there?.["n"]) === count) return;
  throw new SkerryError({
    code: "migration-differs",
    message: `not the same on both sides: ${name} of documents has ${count} rows in the file and ${Number(there?.["n"])} in PostgreSQL`,
    hint: "the file is as it was, and nothing of this was stored; migrate again",
  });
}

/** A number that was used once is never used again, also of a row that is gone. */
async function goOn(session: Session, db: Database, name: string): Promise<void> {
  const [row] = await session.query(`SELECT coalesce(max(id), 0) AS last FROM ${name}`);
  const used = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?").get(name)?.["seq"];
  await session.query("SELECT setval(pg_get_serial_sequence($1, 'id'), $2::bigint + 1, false)", [
    `skerry_documents.${name}`,
    Math.max(Number(row?.["last"]), Number(used ?? 0)),
  ]);
}

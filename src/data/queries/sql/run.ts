/**
 * Runs one statement, in a process of its own (`sql.entry.ts`): SQLite gives no way to stop one from
 * within, and no bound on its memory, but a process can be ended at any moment.
 */
import { SkerryError } from "../../../lib/errors.ts";
import { openDatabase, sqliteFailure, type Database } from "../../../runtime/sqlite/index.ts";
import { createEntryReading, noEntries } from "../entries.ts";
import type { QueryFiles } from "../engine.ts";
import { checkStatement, denyWrites } from "./check-statement.ts";
import type { SqlAnswer, SqlDeclared, SqlQuery, SqlValue } from "./request.ts";
import { createViews, entryColumns, viewsOf, type Held, type View } from "./views.ts";

export type SqlJob = {
  readonly query: SqlQuery;
  readonly declared: SqlDeclared;
  readonly files: QueryFiles;
};

/** Of streams that a statement reads, what is unpacked for it. */
const entriesMax = 200_000;
const entryBytesMax = 64 * 1024 * 1024;
const pageRows = 1000;
const answerBytesMax = 4 * 1024 * 1024;

/** Throws `invalid-sql`, `query-too-dear`, and what the files are damaged by. */
export function runSql({ query, declared, files }: SqlJob): SqlAnswer {
  const db = openDatabase(files.documentsPath, { readOnly: true });
  const streams = openDatabase(files.streamsPath, { readOnly: true });
  try {
    // What spills over stays in this process, where it is bounded.
    db.exec("PRAGMA temp_store = MEMORY");
    const views = viewsOf(collectionsOf(db, declared), streamsOf(streams, declared));
    const read = checkStatement(query.sql, views);
    createViews(db, views);
    const filled = { entries: 0, bytes: 0 };
    for (const view of views)
      if (view.kind === "stream" && read.has(view.name)) fill(db, streams, { view, query, filled });
    db.exec("PRAGMA query_only = ON");
    denyWrites(db);
    return answer(db, query);
  } catch (error) {
    throw sqliteFailure(error, files.documentsPath);
  } finally {
    db.close();
    streams.close();
  }
}

function collectionsOf(db: Database, { collections }: SqlDeclared) {
  const numbers = new Map(
    db
      .prepare("SELECT id, name FROM collection")
      .all()
      .map((row) => [String(row["name"]), Number(row["id"])]),
  );
  const fields = new Map(collections.map((declared) => [declared.name, declared.fields]));
  return [...new Set([...numbers.keys(), ...fields.keys()])].sort().map((name) => {
    const number = numbers.get(name);
    return {
      name,
      fields: fields.get(name) ?? [],
      ...(number === undefined ? {} : { number }),
    };
  });
}

function streamsOf(db: Database, declared: SqlDeclared): Held[] {
  const held = db.prepare("SELECT name FROM stream WHERE scope = ''").all();
  const names = new Set([...held.map(({ name }) => String(name)), ...declared.streams]);
  return [...names].sort().map((name) => ({ name }));
}

function fill(
  db: Database,
  streams: Database,
  {
    view,
    query,
    filled,
  }: {
    view: View;
    query: SqlQuery;
    filled: { entries: number; bytes: number };
  },
): void {
  const open = createEntryReading(streams).open(view.of) ?? noEntries;
  const marks = entryColumns.map(() => "?").join(", ");
  const name = `"${view.name.replaceAll('"', '""')}"`;
  const add = db.prepare(`INSERT INTO temp.${name} VALUES (${marks})`);
  const { fromMs, toMs } = query;
  for (let afterId = 0, more = true; more;) {
    const page = open.page({ afterId, fromMs, toMs, limit: pageRows });
    for (const { atMs, key, position, body } of page.rows) {
      filled.entries++;
      filled.bytes += body.length;
      if (filled.entries > entriesMax || filled.bytes > entryBytesMax) throw tooMany(view, filled);
      add.run(
        new Date(atMs).toISOString(),
        atMs,
        key?.producer ?? null,
        key?.epoch ?? null,
        key?.sequence ?? null,
        position.origin,
        position.sequence,
        Buffer.from(body).toString(),
      );
    }
    afterId = page.lastId;
    ({ more } = page);
  }
}

const tooMany = ({ of }: View, { entries, bytes }: { entries: number; bytes: number }) =>
  new SkerryError({
    code: "query-too-dear",
    message: `stream ${of}: ${entries - 1} entries (${Math.round(bytes / 1e6)} MB) were unpacked for the statement, and there are more`,
    hint: `give a shorter time (from, to): a statement sees at most ${entriesMax} entries and ${entryBytesMax / 1024 / 1024} MiB of them; queries and exports have no such bound`,
  });

function answer(db: Database, { sql, limit }: SqlQuery): SqlAnswer {
  const statement = asking(() => db.prepare(sql));
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  const columns = statement.columns().map(({ name }) => name);
  const rows: SqlValue[][] = [];
  let bytes = 0;
  const found = statement.iterate() as Iterator<readonly unknown[]> & Iterable<readonly unknown[]>;
  for (;;) {
    const step = asking(() => found.next());
    if (step.done) return { columns, rows, more: false };
    const row = step.value;
    if (rows.length >= limit || bytes >= answerBytesMax) return { columns, rows, more: true };
    const values = row.map(valueOf);
    bytes += values.reduce<number>((sum, value) => sum + String(value).length, 0);
    if (rows.length === 0 && bytes > 2 * answerBytesMax) {
      throw new SkerryError({
        code: "query-too-dear",
        message: `one row is larger than ${(2 * answerBytesMax) / 1024 / 1024} MiB`,
        hint: "select less of it",
      });
    }
    rows.push(values);
  }
}

/** What SQLite says of the statement, unless it is of the files. Throws `invalid-sql`. */
function asking<T>(ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    const failure = sqliteFailure(error, "the node's files");
    if (failure instanceof SkerryError || !(error instanceof Error) || !("errcode" in error))
      throw failure;
    throw new SkerryError({ code: "invalid-sql", message: `sql: ${error.message}`, cause: error });
  }
}

function valueOf(value: unknown): SqlValue {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  // JSON has none of these.
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  return typeof value === "string" ? value : null;
}

/** Read-only SQL: what a statement sees, and that it sees and changes nothing else. */
import { strict as assert } from "node:assert";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  openStreamStore,
  type LocalDocumentStore,
  type StreamStore,
} from "../../src/data/index.ts";
import { checkSqlRequest, type SqlDeclared } from "../../src/data/queries/sql/request.ts";
import { runSql } from "../../src/data/queries/sql/run.ts";
import { createSql } from "../../src/data/queries/sql/sql.ts";
import type { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";
import { openDocuments, put, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const files = {
  documentsPath: join(folder.path, "documents.db"),
  streamsPath: join(folder.path, "streams.db"),
};
const declared: SqlDeclared = {
  collections: [
    { name: "items", fields: ["/name", "/stock", "/size/mm", "/id", '/a"b'] },
    { name: "empty", fields: ["/x"] },
  ],
  streams: ["readings", "notes", "quiet"],
};
let documents: LocalDocumentStore;
let streams: StreamStore;

before(async () => {
  documents = await openDocuments(files.documentsPath);
  await write(
    documents,
    put("bolt", { name: "bolt", stock: 40, size: { mm: 8 } }),
    put("nut", { name: "nut", stock: 2 }),
    put("gone", { name: "gone" }),
  );
  await write(documents, { collection: "items", id: "gone", do: "delete" });
  await write(documents, put("n1", { text: "other" }, "notes"));
  streams = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    {
      path: files.streamsPath,
      node: "n1",
      sealing: { entriesMax: 20, tailEntries: 10, periodMs: 1 },
    },
  );
  await streams.setStreams(["readings", "notes"].map((name) => ({ name, retention: {} })));
  await streams.append(range(1, 100).map((n) => entry(n, { stream: "readings", atMs: n * 1000 })));
  await streams.append([entry(1, { stream: "notes", body: { text: "x" } })]);
  await waitFor(async () => (await streams.status()).streams.some(({ sealed }) => sealed >= 80), {
    what: "segments",
  });
});
after(async () => {
  await Promise.all([documents.close(), streams.close()]);
  folder[Symbol.dispose]();
});

const ask = (sql: string, more: object = {}) =>
  runSql({ query: checkSqlRequest({ sql, ...more }), declared, files });
const rowsOf = (sql: string, more: object = {}) => ask(sql, more).rows;

test("Q9: collections are views with declared fields as columns, streams are tables, rows and segments alike", () => {
  assert.deepEqual(ask('select id, name, stock, "size.mm", conflicts from items order by id'), {
    columns: ["id", "name", "stock", "size.mm", "conflicts"],
    rows: [
      ["bolt", "bolt", 40, 8, 0],
      ["nut", "nut", 2, null, 0],
    ],
    more: false,
  });
  assert.deepEqual(
    rowsOf("select count(*), min(at_ms), max(position), sum(body ->> 'n') from readings"),
    [[100, 1000, 100, 5050]],
  );
  const time = { from: "1970-01-01T00:00:10Z", to: 12_000 };
  assert.deepEqual(rowsOf("select at, sequence from readings", time), [
    ["1970-01-01T00:00:10.000Z", 10],
    ["1970-01-01T00:00:11.000Z", 11],
  ]);
  assert.deepEqual(rowsOf("select count(*) from empty, quiet"), [[0]]);
  assert.deepEqual(
    rowsOf(
      "select (select text from (select body ->> 'text' as text from notes)), count(*) from notes_entries",
    ),
    [["other", 1]],
  );
  assert.deepEqual(rowsOf("select name, kind, columns from all_views order by 1"), [
    ["empty", "collection", "id, body, conflicts, x"],
    ["items", "collection", "id, body, conflicts, name, stock, size.mm"],
    ["notes", "collection", "id, body, conflicts"],
    ["notes_entries", "stream", "at, at_ms, producer, epoch, sequence, origin, position, body"],
    ["quiet", "stream", "at, at_ms, producer, epoch, sequence, origin, position, body"],
    ["readings", "stream", "at, at_ms, producer, epoch, sequence, origin, position, body"],
  ]);
  assert.deepEqual(
    rowsOf("select key from items, json_each(items.body) where items.id = 'nut' order by 1"),
    [["name"], ["stock"]],
  );
  assert.deepEqual(rowsOf("select 9007199254740993, x'00ff', 1e999, null, true; -- no more"), [
    ["9007199254740993", "00ff", "Infinity", null, 1],
  ]);
});

test("Q9: nothing else can be read, and nothing changed", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["select * from document", /no such table: document/],
    ["select * from main.document", /no such table: main.document/],
    // A part of a statement may be called as a view is; it still reaches nothing.
    ["with items as (select * from document) select * from items", /no such table: document/],
    ["with items as (select * from operation) select 1 from items", /no such table: operation/],
    ["select * from sqlite_master", /"sqlite_master" is none/],
    ["select * from temp.sqlite_schema", /"sqlite_temp_master" is none/],
    ["select * from pragma_table_info('items')", /"pragma_table_info" is none/],
    ["select * from dbstat", /no such table: dbstat|"dbstat" is none/],
    ["select load_extension('x')", /load_extension is not called here/],
    ["insert into readings values (1)", /only statements that read|columns/],
    ["delete from items", /only statements that read/],
    ["create temp table x(a)", /only statements that read/],
    ["attach 'x' as y", /only statements that read/],
    ["pragma query_only = off", /only statements that read/],
    ["begin", /only statements that read/],
    ["select 1; delete from items", /one statement at a time/],
    ["select 1; select 2", /one statement at a time/],
    ["-- nothing", /no statement/],
    ["selec 1", /syntax error/],
    ["select json_extract('{', '$')", /malformed JSON/],
    ["select absent from items", /no such column/],
  ];
  for (const [sql, message] of refused)
    assert.throws(
      () => ask(sql),
      (error: SkerryError) => {
        assert.equal(error.code, "invalid-sql", sql);
        assert.match(error.message, message, sql);
        return true;
      },
    );
  assert.throws(() => ask("select 1", { limit: 0 }), { code: "invalid-query" });
  assert.throws(() => checkSqlRequest({ sql: "" }), { code: "invalid-query" });
});

test("Q9: what stands before a statement hides nothing of it, and no file is made or touched", () => {
  const out = join(folder.path, "stolen.db");
  const verbs = [
    "vacuum",
    `vacuum into '${out}'`,
    `vacuum main into '${out}'`,
    // The part in brackets is a statement that reads.
    `vacuum into (select '${out}')`,
    `attach '${out}' as y`,
    `attach (select '${out}') as y`,
    "detach temp",
    "pragma journal_mode = delete",
    "pragma wal_checkpoint(truncate)",
    "reindex",
    "analyze",
  ];
  const before = [
    ";",
    " ; ;",
    "\t\n\v\f\r;",
    "/* */",
    ";;/* ; */ -- x\n;",
    "\ufeff",
    "\ufeff;",
    "/*/ */;",
  ];
  const shapes = readdirSync(folder.path).sort();
  // What is only explained does not run, and one that reads something is explained.
  for (const verb of verbs)
    for (const prefix of verb.includes("(select") ? ["", ...before] : ["", "explain ", ...before])
      for (const suffix of ["", ";", " -- select"]) {
        const sql = `${prefix}${verb.toUpperCase()}${suffix}`;
        // Of a path no letter is another's capital.
        const asked = sql.replaceAll(out.toUpperCase(), out);
        assert.throws(() => ask(asked), { code: "invalid-sql" }, asked);
        assert.deepEqual(readdirSync(folder.path).sort(), shapes, asked);
      }
  for (const prefix of before) assert.deepEqual(rowsOf(`${prefix} select 1`), [[1]], prefix);
  assert.deepEqual(rowsOf("values (1), (2)"), [[1], [2]]);
  assert.ok(rowsOf("explain select name from items").length > 0);
});

test("Q9: rows are bounded, and so are time and memory: a statement's process is ended", async () => {
  const numbers = "with recursive t(n) as (select 1 union all select n + 1 from t) select";
  const some = ask(`${numbers} n from t`, { limit: 3 });
  assert.deepEqual([some.rows, some.more], [[[1], [2], [3]], true]);
  const sql = createSql({ clock: systemClock, declared: () => declared }, files);
  const run = (statement: string, more: object = {}, signal = new AbortController().signal) =>
    sql.run(checkSqlRequest({ sql: statement, timeoutMs: 60_000, ...more }), { signal });
  assert.deepEqual((await run("select name from items")).rows, [["bolt"], ["nut"]]);
  await assert.rejects(run("select * from document"), { code: "invalid-sql" });
  const gone = new AbortController();
  const asked = [
    assert.rejects(run(`${numbers} max(n) from t`, { timeoutMs: 200 }), {
      code: "query-too-dear",
      message: "the statement was not at its end after 200 ms",
    }),
    assert.rejects(run(`${numbers} max(n) from t`, {}, gone.signal), { code: "closed" }),
  ];
  await asked[0];
  gone.abort();
  await asked[1];
  // Rows that are all kept, to be told apart: a text would be let go at SQLite's bound of 1 GB, unseen on a busy machine.
  const kept =
    "with recursive t(n, pad) as (select 1, '' union select n + 1, printf('%0100000d', n) from t)";
  await assert.rejects(run(`${kept} select max(n) from t`), {
    code: "query-too-dear",
    message: /MiB of memory/,
  });
});

/** What only the hub's documents in PostgreSQL promise: several processes, and a database that goes away. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import {
  connectGlobalDocuments,
  type GlobalDocumentEvents,
  type GlobalDocumentMethods,
  type GlobalDocumentStore,
} from "../../src/data/index.ts";
import { layouts } from "../../src/data/documents/layouts.ts";
import { tableToPostgres, toPostgres } from "../../src/data/global/postgres/dialect.ts";
import type { HubStorageData } from "../../src/hub/storage.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import {
  bodies,
  clear,
  openOnPostgres,
  originOf,
  postgresServer,
  postgresUrl,
} from "../support/documents-global.ts";
import { openDocuments, put, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 60_000;

/** As a hub process has it. */
async function startHub(path: string) {
  const data: HubStorageData = {
    dataDir: path,
    logLevel: "error",
    postgres: parsePostgresUrl(await postgresUrl(path)),
  };
  const thread = await startThread<GlobalDocumentMethods, GlobalDocumentEvents>(
    new URL("../../src/hub/documents.entry.ts", import.meta.url),
    { name: "documents", data },
  );
  return { store: connectGlobalDocuments(thread), kill: () => thread.terminate() };
}

/** Until it is taken: what cells do. */
async function ingested(hub: GlobalDocumentStore, bytes: Uint8Array): Promise<void> {
  await waitFor(
    async () => {
      try {
        await hub.ingest("a", bytes);
        return true;
      } catch (error) {
        if (error instanceof SkerryError && error.retryable) return false;
        throw error;
      }
    },
    { timeoutMs, what: "a batch to be taken" },
  );
}

test("D2, M12: hub processes on one database agree, and one that is killed in the middle leaves nothing half done", async () => {
  using folder = temporaryFolder();
  const [one, other] = [await startHub(folder.path), await startHub(folder.path)];
  const node = await openDocuments(join(folder.path, "1.db"), "n1");
  try {
    for (const at of range(1, 30)) await write(node, put(`d${at % 7}`, { n: at, name: "x" }));
    const origin = await originOf(node);
    const policies = { items: { keep: ["n"] } };
    const piece = (from: number, to: number) => clear(node, policies, { origin, from, to });
    await one.store.ingest("a", piece(1, 5));
    // Each twice, by both at once; one of them goes in the middle.
    const sent = range(1, 5).flatMap((step) => {
      const bytes = piece(step * 5 - 4, step * 5 + 5);
      return [one.store.ingest("a", new Uint8Array(bytes)), ingested(other.store, bytes)];
    });
    const outcomes = Promise.allSettled(sent);
    await Promise.race(sent);
    await one.kill();
    await outcomes;
    for (const step of range(1, 5)) await ingested(other.store, piece(step * 5 - 4, step * 5 + 5));
    const expected = range(0, 6).map((id) => {
      const n = Math.max(...range(1, 30).filter((at) => at % 7 === id));
      return `a/d${id} {"n":${n}}`;
    });
    assert.deepEqual(await bodies(other.store), expected);

    // What is published at one is told and pulled at the other.
    const third = await startHub(folder.path);
    let told = 0;
    other.store.on("published", () => told++);
    await third.store.publish({ name: "prices" });
    await third.store.write([{ collection: "prices", id: "p", do: "put", body: { eur: 3 } }]);
    await waitFor(() => told > 0, { timeoutMs, what: "the other process to hear of it" });
    const query = { cell: "a", collections: ["prices"], vector: {} };
    const pulled = await other.store.pull(query);
    assert.ok(pulled);
    assert.deepEqual(await third.store.pull(query), pulled);
    assert.deepEqual(
      (await third.store.list({ collection: "prices" })).documents.map(({ body }) => body),
      [{ eur: 3 }],
    );
    await third.store.close();
    await third.kill();
  } finally {
    await other.kill();
    await node.close();
  }
});

test("D1, D2: connections that PostgreSQL ends, and its restart, lose no document and make none twice", async () => {
  using folder = temporaryFolder();
  const hub = await openOnPostgres(folder.path);
  const node = await openDocuments(join(folder.path, "1.db"), "n1");
  try {
    for (const at of range(1, 12)) await write(node, put(`d${at % 3}`, { n: at }));
    const origin = await originOf(node);
    const server = await postgresServer();
    const piece = (to: number) => clear(node, { items: { drop: [] } }, { origin, from: 1, to });
    await hub.ingest("a", piece(4));
    const control = await server.open(await postgresUrl(folder.path));
    const ended = await control.use((session) =>
      session.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'skerry-hub-documents' AND datname = current_database()`,
      ),
    );
    assert.equal(ended.length, 1);
    await ingested(hub, piece(8));
    await control.close();
    await server.kill();
    await assert.rejects(hub.ingest("a", piece(12)), {
      code: "database-unreachable",
      retryable: true,
    });
    await assert.rejects(hub.collections(), { code: "database-unreachable" });
    await server.start();
    await ingested(hub, piece(12));
    await using sql = await server.open(await postgresUrl(folder.path));
    const seen = await sql.use((session) =>
      session.query(
        `SELECT cell, collection, id, body->>'n' AS n FROM skerry_documents.documents ORDER BY id`,
      ),
    );
    assert.deepEqual(
      seen.map((row) => Object.values(row).join(" ")),
      ["a items d0 12", "a items d1 10", "a items d2 11"],
    );
    assert.deepEqual(await bodies(hub), ['a/d0 {"n":12}', 'a/d1 {"n":10}', 'a/d2 {"n":11}']);
  } finally {
    await hub.close();
    await node.close();
  }
});

test("the tables in PostgreSQL have the columns that those in SQLite have", async () => {
  using folder = temporaryFolder();
  await (await openOnPostgres(folder.path)).close();
  const server = await postgresServer();
  await using control = await server.open(await postgresUrl(folder.path));
  const there = await control.use((session) =>
    session.query(
      `SELECT table_name AS table, column_name AS name FROM information_schema.columns
       WHERE table_schema = 'skerry_documents'`,
    ),
  );
  const names = new Set(there.map((row) => `${String(row["table"])}.${String(row["name"])}`));
  const db = openDatabase(join(folder.path, "layout.db"));
  for (const layout of layouts) db.exec(layout);
  // Rules and ages are a node's.
  const here = db
    .prepare(
      `SELECT m.name || '.' || c.name AS name FROM sqlite_schema m, pragma_table_info(m.name) c
       WHERE m.type = 'table' AND m.name NOT GLOB 'claim*' AND m.name NOT IN
         ('rule', 'age_mark')`,
    )
    .all()
    .map(({ name }) => String(name));
  db.close();
  assert.deepEqual(
    here.filter((name) => !names.has(name)),
    [],
  );
});

test("statements written for SQLite, in the words of PostgreSQL", () => {
  assert.equal(
    toPostgres("SELECT a FROM t WHERE b = ? AND c < ? LIMIT ?"),
    "SELECT a FROM t WHERE b = $1 AND c < $2 LIMIT $3",
  );
  assert.equal(
    toPostgres("DELETE FROM t WHERE b = ?1 OR c = ?1"),
    "DELETE FROM t WHERE b = $1 OR c = $1",
  );
  assert.equal(
    toPostgres("INSERT OR IGNORE INTO meta VALUES ('x', ?)"),
    "INSERT INTO meta VALUES ('x', $1) ON CONFLICT DO NOTHING",
  );
  assert.equal(
    toPostgres("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)"),
    "INSERT INTO seen VALUES ($1, $2, $3) ON CONFLICT (origin, other) DO UPDATE SET upto = excluded.upto",
  );
  assert.throws(() => toPostgres("INSERT OR REPLACE INTO other VALUES (?)"), { code: "internal" });
  assert.equal(
    tableToPostgres("CREATE TABLE t(n INTEGER, name TEXT) WITHOUT ROWID"),
    'CREATE TABLE t(n bigint, name text COLLATE "C") ',
  );
});

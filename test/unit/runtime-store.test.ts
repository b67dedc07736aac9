/** Files and databases that must survive whatever stops the machine. */
import { strict as assert } from "node:assert";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { SkerryError } from "../../src/lib/errors.ts";
import {
  ensureDirectory,
  readFileIfExists,
  readRecord,
  writeFileAtomic,
  writeRecord,
  writeRecordAsync,
} from "../../src/runtime/files/index.ts";
import {
  createGroupCommit,
  databaseFiles,
  openDatabase,
  sqliteFailure,
  type Database,
  type GroupCommitOptions,
} from "../../src/runtime/sqlite/index.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-test-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("files: replaced whole, with mode 0600, and nothing is left beside", (t) => {
  const path = join(folder(t), "f");
  writeFileAtomic(path, "one");
  writeFileAtomic(path, new Uint8Array([1, 2]));
  assert.deepEqual([...readFileSync(path)], [1, 2]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(join(path, "..")), ["f"]);
});

test("files: a write that fails names the path and leaves the old content", (t) => {
  const root = folder(t);
  const path = join(root, "f");
  mkdirSync(path);
  assert.throws(() => writeFileAtomic(path, "x"), {
    code: "file-unwritable",
    message: `cannot write ${path}`,
  });
  assert.deepEqual(readdirSync(root), ["f"]);
  writeFileSync(join(root, "plain"), "stays");
  assert.throws(() => writeFileAtomic(join(root, "plain", "below"), "x"), {
    code: "file-unwritable",
  });
  assert.throws(() => readFileIfExists(path), { code: "file-unreadable" });
  assert.equal(readFileIfExists(join(root, "absent")), undefined);
  assert.equal(readFileSync(join(root, "plain"), "utf8"), "stays");
});

test("files: missing folders are made, those that stand are left", (t) => {
  const path = join(folder(t), "a", "b", "c");
  ensureDirectory(path);
  ensureDirectory(path);
  assert.equal(statSync(path).mode & 0o777, 0o700);
});

test("records: come back as written, also written without holding the thread", async (t) => {
  const path = join(folder(t), "record");
  assert.equal(readRecord(path), undefined);
  const value = { text: "ä\n", list: [1, null], nested: { deep: true } };
  writeRecord(path, value);
  assert.deepEqual(readRecord(path), value);
  await writeRecordAsync(path, [value]);
  assert.deepEqual(readRecord(path), [value]);
  await assert.rejects(writeRecordAsync(join(path, "below"), 1), { code: "file-unwritable" });
});

test("records: whatever tears or rots them is noticed", (t) => {
  const path = join(folder(t), "record");
  writeRecord(path, { pods: ["a", "b"], revision: 7 });
  const whole = readFileSync(path);
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(path, whole.subarray(0, length));
    assert.throws(() => readRecord(path), { code: "file-torn" }, `cut at ${length}`);
  }
  for (let at = 0; at < whole.length - 1; at++) {
    const rotten = Buffer.from(whole);
    rotten[at] = (rotten[at] ?? 0) ^ 1;
    writeFileSync(path, rotten);
    assert.throws(() => readRecord(path), { code: "file-torn" }, `bit flipped at ${at}`);
  }
  writeFileSync(path, Buffer.alloc(whole.length));
  assert.throws(() => readRecord(path), { code: "file-torn" });
});

function database(t: TestContext): { db: Database; path: string } {
  const path = join(folder(t), "sub", "test.db");
  const db = openDatabase(path);
  db.exec("CREATE TABLE numbers (n INTEGER PRIMARY KEY)");
  t.after(() => db.isOpen && db.close());
  return { db, path };
}

const numbers = (db: Database) =>
  db
    .prepare("SELECT n FROM numbers ORDER BY n")
    .all()
    .map(({ n }) => n);
const insert = (db: Database, n: number) => () => {
  db.prepare("INSERT INTO numbers VALUES (?)").run(n);
  return n;
};

test("databases: WAL with a full sync, in folders made for them", (t) => {
  const { db } = database(t);
  assert.equal(db.prepare("PRAGMA journal_mode").get()?.["journal_mode"], "wal");
  assert.equal(db.prepare("PRAGMA synchronous").get()?.["synchronous"], 2);
});

test("databases: their files are named, and there are no others", (t) => {
  const root = folder(t);
  const path = join(root, "d.db");
  const db = openDatabase(path);
  db.exec("CREATE TABLE one (value INTEGER)");
  // While it is open its log and its readers' marks stand beside it.
  const found = readdirSync(root).map((name) => join(root, name));
  db.close();
  assert.deepEqual(found.toSorted(), databaseFiles(path).toSorted());
  assert.equal(databaseFiles(path)[0], path);
});

test("databases: damage is found at open, or in a large file by who reads it: opening takes no minutes", (t) => {
  const path = folder(t);
  const made = (name: string, moreBytes: number) => {
    const file = join(path, name);
    const db = openDatabase(file);
    db.exec(
      "CREATE TABLE filler (bytes BLOB); CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT)",
    );
    db.exec(`INSERT INTO filler VALUES (zeroblob(${moreBytes}))`);
    const insert = db.prepare("INSERT INTO row (text) VALUES (?)");
    for (let i = 0; i < 200; i++) insert.run("x".repeat(100));
    const page = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'row'").get();
    db.close();
    const handle = openSync(file, "r+");
    writeSync(handle, Buffer.alloc(4096, 7), 0, 4096, (Number(page?.["rootpage"]) - 1) * 4096);
    closeSync(handle);
    return file;
  };
  assert.throws(() => openDatabase(made("small.db", 1)), { code: "store-damaged" });
  const db = openDatabase(made("large.db", 64 * 1024 * 1024));
  t.after(() => db.close());
  assert.throws(() => db.prepare("SELECT text FROM row").all(), /malformed/);
});

test("databases: garbage, a folder and a locked file each say what they are", (t) => {
  const root = folder(t);
  const garbage = join(root, "garbage.db");
  writeFileSync(garbage, "x".repeat(5000));
  assert.throws(() => openDatabase(garbage), { code: "store-damaged" });
  assert.throws(() => openDatabase(root), { code: "store-unavailable" });
  assert.throws(() => openDatabase(join(garbage, "below.db")), { code: "store-unavailable" });
  assert.throws(() => openDatabase(join(root, "absent.db"), { readOnly: true }), {
    code: "store-unavailable",
  });
  const coded = (errcode: number) =>
    sqliteFailure(Object.assign(new Error("x"), { errcode }), "p") as SkerryError;
  assert.equal(coded(5).code, "store-locked");
  assert.equal(coded(10 | (4 << 8)).code, "storage-failed");
  assert.equal(coded(13).code, "disk-full");
  assert.ok(!("code" in coded(19)), "what is not about the disk stays as it is");
});

for (const rerunnable of [false, true]) {
  const mode = rerunnable ? "rerunnable pieces" : "pieces with savepoints";
  const writerOf = (t: TestContext, options: Partial<GroupCommitOptions> = {}) => {
    const { db, path } = database(t);
    return { db, writer: createGroupCommit(db, { path, rerunnable, ...options }) };
  };

  test(`group commit, ${mode}: one commit for what came in one turn, answers in order`, async (t) => {
    const commits: number[] = [];
    const { db, writer } = writerOf(t, { onCommit: (works) => commits.push(works) });
    const order: number[] = [];
    const writes = [3, 1, 2].map((n) =>
      writer.write(insert(db, n)).then((value) => order.push(value)),
    );
    assert.equal(writer.waiting, 3);
    await Promise.all(writes);
    assert.deepEqual([order, commits, numbers(db)], [[3, 1, 2], [3], [1, 2, 3]]);
  });

  test(`group commit, ${mode}: a piece that throws takes only its own changes with it`, async (t) => {
    const { db, writer } = writerOf(t);
    const results = await Promise.allSettled([
      writer.write(insert(db, 1)),
      writer.write(() => {
        insert(db, 2)();
        throw new Error("changed my mind");
      }),
      writer.write(insert(db, 1)),
      writer.write(insert(db, 3)),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "rejected", "fulfilled"],
    );
    assert.match(String((results[1] as PromiseRejectedResult).reason), /changed my mind/);
    assert.deepEqual(numbers(db), [1, 3]);
  });

  test(`group commit, ${mode}: an asynchronous piece is refused and undone`, async (t) => {
    const { db, writer } = writerOf(t);
    const sneaky = writer.write(async () => insert(db, 1)());
    await assert.rejects(sneaky, { code: "internal" });
    assert.deepEqual(numbers(db), []);
  });

  test(`group commit, ${mode}: too much waits is said at once, a large group is cut`, async (t) => {
    const commits: number[] = [];
    const { db, writer } = writerOf(t, {
      worksMax: 4,
      waitingMax: 10,
      onCommit: (works) => commits.push(works),
    });
    const writes = Array.from({ length: 12 }, (_, n) => writer.write(insert(db, n)));
    const settled = await Promise.allSettled(writes);
    assert.deepEqual(commits, [4, 4, 2]);
    for (const { reason } of settled.slice(10) as PromiseRejectedResult[])
      assert.deepEqual([reason.code, reason.retryable], ["store-busy", true]);
    assert.equal(numbers(db).length, 10);
    await writer.write(insert(db, 100));
  });

  test(`group commit, ${mode}: close commits what waits, then refuses`, async (t) => {
    const { db, writer } = writerOf(t, { worksMax: 2 });
    const writes = [1, 2, 3, 4, 5].map((n) => writer.write(insert(db, n)));
    await writer.close();
    assert.deepEqual(await Promise.all(writes), [1, 2, 3, 4, 5]);
    assert.equal(db.isOpen, false);
    await assert.rejects(writer.write(insert(db, 6)), { code: "closed" });
    await writer.close();
  });

  test(`group commit, ${mode}: a full file refuses the piece and goes on`, async (t) => {
    const rollbacks: string[] = [];
    const { db, writer } = writerOf(t, { onRollback: () => rollbacks.push("undone") });
    db.exec("CREATE TABLE blobs (b BLOB); PRAGMA max_page_count = 20");
    const blob = (bytes: number) => () =>
      void db.prepare("INSERT INTO blobs VALUES (?)").run(new Uint8Array(bytes));
    const settled = await Promise.allSettled([
      writer.write(insert(db, 1)),
      writer.write(blob(200_000)),
    ]);
    assert.equal((settled[1] as PromiseRejectedResult).reason.code, "disk-full");
    assert.ok(rollbacks.length > 0);
    await writer.write(insert(db, 2));
    assert.ok(numbers(db).includes(2));
    assert.equal(numbers(db).includes(1), settled[0].status === "fulfilled");
  });

  test(`group commit, ${mode}: after the disk failed nothing is acknowledged any more`, async (t) => {
    const { db, writer } = writerOf(t, { worksMax: 1 });
    const broken = () => {
      // What SQLite throws when the disk fails also ends its transaction.
      db.exec("ROLLBACK");
      throw Object.assign(new Error("disk I/O error"), { errcode: 10 });
    };
    const settled = await Promise.allSettled([
      writer.write(insert(db, 1)),
      writer.write(broken),
      writer.write(insert(db, 2)),
    ]);
    assert.deepEqual(
      settled.map((result) => (result.status === "fulfilled" ? "done" : result.reason.code)),
      ["done", "storage-failed", "storage-failed"],
    );
    await assert.rejects(writer.write(insert(db, 3)), { code: "storage-failed" });
    assert.deepEqual(numbers(db), [1]);
    await writer.close();
  });
}

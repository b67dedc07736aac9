/** Queries over documents, against an evaluator that looks at every document in the plainest way. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { stable } from "../../src/api/index.ts";
import { checkQuery } from "../../src/data/queries/check.ts";
import { createQueryEngine, type QueryEngine } from "../../src/data/queries/engine.ts";
import type { QueryPage } from "../../src/data/queries/query.ts";
import type { DocumentStore } from "../../src/data/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { items, openDocuments, put } from "../support/documents.ts";
import {
  bodies,
  naiveGroups,
  naiveRows,
  paths,
  sorts,
  wheres,
  type Doc,
  type Json,
  type Request,
  type Where,
} from "../support/queries.ts";
import { waitFor } from "../support/wait.ts";

const folder = temporaryFolder();
const path = join(folder.path, "documents.db");
/** Nothing is asked of streams here. */
const files = (documentsPath: string) => ({ documentsPath, streamsPath: "none" });
let store: DocumentStore;
let engine: QueryEngine;

/** Without types, so that any value may stand anywhere. */
const declare = (collections: readonly { name: string; indexes: readonly string[] }[]) =>
  store.declare([items, ...collections.map((one) => ({ ...items, fields: [], ...one }))]);

before(async () => {
  store = await openDocuments(path);
  engine = createQueryEngine({ clock: systemClock }, files(path));
});
after(async () => {
  engine.close();
  await store.close();
  folder[Symbol.dispose]();
});

async function ask(collection: string, request: Request): Promise<QueryPage> {
  // As it comes over HTTP.
  const query = checkQuery(JSON.parse(JSON.stringify({ timeoutMs: 30_000, ...request })));
  return engine.documents({ collection, isDeclared: true, query });
}

async function allPages(collection: string, request: Request): Promise<unknown[]> {
  const rows: unknown[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await ask(collection, { ...request, ...(cursor ? { cursor } : {}) });
    rows.push(...page.rows.map((row) => JSON.parse(row) as unknown));
    if (page.cursor === undefined) return rows;
    assert.ok(page.rows.length > 0, "a page in the middle is not empty");
    cursor = page.cursor;
  }
}

async function fill(collection: string, docs: readonly Doc[]): Promise<void> {
  for (let at = 0; at < docs.length; at += 1000) {
    const answer = await store.write(
      docs.slice(at, at + 1000).map(({ id, body }) => put(id, body as never, collection)),
    );
    assert.equal(answer.state, "stored", JSON.stringify(answer));
  }
}

const indexesAreWhole = () =>
  waitFor(
    () => {
      const db = openDatabase(path, { readOnly: true });
      const left = db.prepare("SELECT 1 FROM document_index WHERE state <> 'whole'").all();
      db.close();
      return left.length === 0;
    },
    { what: "the indexes to be made" },
  );

const ids = fc.oneof(
  fc.integer({ min: 0, max: 30 }).map((number) => `doc-${number}`),
  fc.constantFrom("\u{1F600}", "\uFF01", "a".repeat(256)),
);
const docsOf = fc
  .uniqueArray(fc.record({ id: ids, body: bodies }), { maxLength: 25, selector: ({ id }) => id })
  .map((docs) => JSON.parse(JSON.stringify(docs)) as Doc[]);

let collections = 0;
/** A collection of its own, with some indexes made before and some after its documents. */
async function prepared(docs: readonly Doc[], early: readonly string[], late: readonly string[]) {
  const name = `c${collections++}`;
  await declare([{ name, indexes: early }]);
  // Everything is written twice, so that keys of what was there before would show.
  await fill(
    name,
    docs.map(({ id }, at) => ({ id, body: docs[docs.length - 1 - at]?.body ?? {} })),
  );
  await declare([{ name, indexes: [...early, ...late] }]);
  await fill(name, docs);
  await indexesAreWhole();
  return name;
}

test("Q1, Q2: rows are those of the naive answer, in its order, whatever the indexes and the pages", async () => {
  const some = fc.subarray(paths);
  await fc.assert(
    fc.asyncProperty(
      docsOf,
      some,
      some,
      fc.array(fc.tuple(wheres, sorts), { minLength: 80, maxLength: 80 }),
      async (docs, early, more, asked) => {
        const late = more.filter((one) => !early.includes(one));
        const name = await prepared(docs, early, late);
        for (const [where, sort] of asked) {
          const wanted = naiveRows(docs, { where, sort });
          for (const limit of [3, 100]) {
            const rows = await allPages(name, { where, sort, limit });
            assert.deepEqual(rows, wanted, JSON.stringify({ where, sort, limit, early, late }));
          }
        }
      },
    ),
    { numRuns: 40, endOnFailure: true },
  );
});

test("Q1: groups and measures are those of the naive answer, sums to the last bit", async () => {
  const measures = fc.uniqueArray(
    fc.oneof(
      fc.constant("count"),
      fc
        .tuple(
          fc.constantFrom("count", "sum", "avg", "min", "max"),
          fc.constantFrom(...paths, "/c/0"),
        )
        .map(([name, of]) => `${name}(${of})`),
    ),
    { minLength: 1, maxLength: 5 },
  );
  const text = (rows: Json[]) => rows.map(stable).sort();
  await fc.assert(
    fc.asyncProperty(
      docsOf,
      fc.array(fc.tuple(wheres, measures, fc.subarray(paths)), { minLength: 20, maxLength: 20 }),
      async (docs, asked) => {
        const name = await prepared(docs, ["/a"], []);
        for (const [where, aggregate, by] of asked) {
          const request = { where, aggregate, by };
          const rows = (await ask(name, request)).rows.map((row) => JSON.parse(row) as Json);
          const wanted = JSON.parse(JSON.stringify(naiveGroups(docs, request))) as Json[];
          assert.deepEqual(text(rows), text(wanted), JSON.stringify(request));
        }
      },
    ),
    { numRuns: 15, endOnFailure: true },
  );
});

test("Q3: an index is used for what it can find, SQLite searches it, and one that is gone is not", async () => {
  const docs = Array.from({ length: 3000 }, (_, at) => ({
    id: `o${at}`,
    body: {
      status: at % 100 === 0 ? "open" : "closed",
      total: at,
      tags: at % 500 === 0 ? ["gift"] : [],
    },
  }));
  await declare([{ name: "orders", indexes: ["/status", "/tags"] }]);
  await fill("orders", docs);
  await declare([{ name: "orders", indexes: ["/status", "/tags", "/total"] }]);
  await indexesAreWhole();
  const explain = async (request: Request) => {
    const page = await ask("orders", { ...request, explain: true });
    assert.ok(page.explain);
    return { ...page.explain, rows: page.rows.length };
  };
  const open = { op: "=", path: "/status", value: "open" } as const;

  const found = await explain({ where: open });
  assert.deepEqual([found.rows, found.looked, found.indexes], [30, 30, ["/status"]]);
  assert.match(
    found.sqlite[0] ?? "",
    /^SEARCH k USING PRIMARY KEY \(number=\? AND \(key,id\)>\(\?,\?\)/,
  );
  assert.match(found.sqlite[1] ?? "", /^SEARCH d USING PRIMARY KEY \(collection=\? AND id=\?\)/);
  assert.equal(found.sqlite.length, 2, "no sorting by SQLite");

  const gifts = await explain({ where: { op: "contains", path: "/tags", value: "gift" } });
  assert.deepEqual([gifts.rows, gifts.looked, gifts.indexes], [6, 6, ["/tags"]]);

  // The smaller of two; ranges of one field are one range.
  const both = await explain({
    where: {
      op: "and",
      of: [open, { op: ">=", path: "/total", value: 100 }, { op: "<", path: "/total", value: 110 }],
    },
  });
  // The end of a range is in it: whether it matches is asked.
  assert.deepEqual([both.rows, both.looked, both.indexes], [1, 11, ["/total"]]);

  // The greatest ten, from the end.
  const top = await explain({ sort: ["-total"], limit: 10 });
  assert.deepEqual([top.rows, top.looked, top.indexes], [10, 10, ["/total"]]);
  assert.ok(
    top.sqlite.every((line) => !line.includes("TEMP B-TREE")),
    top.sqlite.join(),
  );

  const byId = await explain({ where: { op: "prefix", path: "id", value: "o299" } });
  assert.deepEqual([byId.rows, byId.looked, byId.indexes], [11, 11, []]);
  assert.match(
    byId.sqlite[0] ?? "",
    /^SEARCH document USING PRIMARY KEY \(collection=\? AND id>\? AND id<\?\)/,
  );

  await declare([{ name: "orders", indexes: ["/status"] }]);
  await indexesAreWhole();
  const all = await explain({ where: { op: ">=", path: "/total", value: 2990 } });
  assert.deepEqual([all.rows, all.looked, all.indexes], [10, 3000, []]);
  const db = openDatabase(path, { readOnly: true });
  const keys = db
    .prepare(
      "SELECT number, count(*) AS keys FROM document_key WHERE number IN (SELECT number FROM document_index WHERE collection = (SELECT id FROM collection WHERE name = 'orders')) GROUP BY 1",
    )
    .all();
  db.close();
  assert.deepEqual(
    keys.map((row) => row["keys"]),
    [3000],
  );
});

test("Q3: an index that is being made is not used, and is made on after a restart", async () => {
  const file = join(folder.path, "restarted.db");
  const first = await openDocuments(file);
  const all = Array.from({ length: 2500 }, (_, at) => put(`a${at}`, { name: `n${at}` }));
  for (let at = 0; at < all.length; at += 1000) await first.write(all.slice(at, at + 1000));
  await first.declare([{ ...items, indexes: ["/name"] }]);
  await first.close();
  const states = () => {
    const db = openDatabase(file, { readOnly: true });
    const rows = db
      .prepare("SELECT state, (SELECT count(*) FROM document_key) AS keys FROM document_index")
      .all();
    db.close();
    return rows.map(({ state, keys }) => [state, keys]);
  };
  const before = states();
  assert.equal(before[0]?.[0], "building", "closed before it was made");
  const other = createQueryEngine({ clock: systemClock }, files(file));
  const query = checkQuery({ where: 'name = "n7"', explain: true });
  const unindexed = await other.documents({ collection: "items", isDeclared: true, query });
  assert.deepEqual([unindexed.rows.length, unindexed.explain?.indexes], [1, []]);

  const second = await openDocuments(file);
  await second.declare([{ ...items, indexes: ["/name"] }]);
  await waitFor(() => states()[0]?.[0] === "whole", { what: "the index to be made" });
  assert.deepEqual(states(), [["whole", 2500]]);
  const indexed = await other.documents({ collection: "items", isDeclared: true, query });
  assert.deepEqual([indexed.rows, indexed.explain?.indexes], [unindexed.rows, ["/name"]]);
  other.close();
  await second.close();
});

test("Q2: what is not written between two pages comes once, whatever else is written", async () => {
  await declare([{ name: "moving", indexes: ["/n"] }]);
  const docs = Array.from({ length: 60 }, (_, at) => ({ id: `m${at}`, body: { n: at } }));
  await fill("moving", docs);
  await indexesAreWhole();
  for (const sort of [["n"], ["-n"], [], ["-id"]]) {
    const seen: string[] = [];
    for (let cursor: string | undefined, round = 0; ; round++) {
      const page = await ask("moving", { sort, limit: 7, ...(cursor ? { cursor } : {}) });
      seen.push(...page.rows.map((row) => (JSON.parse(row) as Doc).id));
      cursor = page.cursor;
      if (cursor === undefined) break;
      // Ten of them wander about, come and go; fifty stay.
      await fill(
        "moving",
        docs.slice(0, 10).map(({ id }) => ({ id, body: { n: (round * 17) % 60 } })),
      );
      await store.write([{ collection: "moving", id: `m${round % 10}`, do: "delete" }]);
    }
    const stayed = docs.slice(10).map(({ id }) => id);
    assert.deepEqual(
      seen.filter((id) => stayed.includes(id)).sort(),
      stayed.toSorted(),
      sort.join(),
    );
    await fill("moving", docs);
  }
});

test("Q4: what takes too long is a page with a cursor, or refused with what would help", async () => {
  await declare([{ name: "many", indexes: [] }]);
  await fill(
    "many",
    Array.from({ length: 2000 }, (_, at) => ({ id: `x${at}`, body: { n: at } })),
  );
  let nowMs = 0;
  // Every look at the clock takes a millisecond.
  const clock = {
    ...systemClock,
    monotonicMs: () => nowMs++ as ReturnType<typeof systemClock.monotonicMs>,
  };
  const slow = createQueryEngine({ clock }, files(path));
  const askSlow = (request: Request) =>
    slow.documents({
      collection: "many",
      isDeclared: true,
      query: checkQuery({ timeoutMs: 10, ...request } as never),
    });
  await assert.rejects(
    askSlow({ sort: ["n"] }),
    (error: Error & { code: string; hint: string }) => {
      assert.equal(error.code, "query-too-dear");
      assert.match(error.message, /^after 10 ms \d+ of 2000 documents had been looked at$/);
      assert.match(error.hint, /declare an index/);
      return true;
    },
  );
  await assert.rejects(askSlow({ aggregate: ["sum(n)"] }), { code: "query-too-dear" });
  const found: unknown[] = [];
  let pages = 0;
  for (let cursor: string | undefined; ; pages++) {
    const where: Where = { op: "in", path: "/n", values: [3, 1999] };
    const page = await askSlow({ where, ...(cursor ? { cursor } : {}) });
    found.push(...page.rows.map((row) => JSON.parse(row) as unknown));
    cursor = page.cursor;
    if (cursor === undefined) break;
  }
  assert.equal(found.length, 2);
  assert.ok(pages > 2, "pages without a row lead on");
  slow.close();
  await assert.rejects(ask("many", { by: ["n"], limit: 1000 }), {
    code: "query-too-dear",
    message: /2000 groups/,
  });
});

test("Q4: an answer ends at 4 MiB, and goes on", async () => {
  await declare([{ name: "large", indexes: [] }]);
  const body = { text: "x".repeat(200_000) };
  for (let at = 0; at < 30; at += 10)
    await fill(
      "large",
      Array.from({ length: 10 }, (_, one) => ({ id: `l${at + one}`, body })),
    );
  for (const sort of [[], ["text"]]) {
    const page = await ask("large", { sort, limit: 1000 });
    assert.equal(page.rows.length, 21);
    assert.equal(
      (await ask("large", { sort, limit: 1000, cursor: page.cursor ?? "" })).rows.length,
      9,
    );
  }
});

test("a cursor of another query, and a collection that is not known, are refused", async () => {
  await declare([{ name: "few", indexes: [] }]);
  await fill(
    "few",
    [1, 2, 3].map((n) => ({ id: `f${n}`, body: { n } })),
  );
  const { cursor = "" } = await ask("few", { sort: ["n"], limit: 1 });
  assert.equal((await ask("few", { sort: ["n"], limit: 5, cursor })).rows.length, 2);
  for (const request of [{ sort: ["-n"], cursor }, { cursor }, { cursor: "x" }, { cursor: "" }])
    await assert.rejects(ask("few", request), { code: "invalid-cursor" });
  const query = checkQuery({});
  await assert.rejects(engine.documents({ collection: "fewer", isDeclared: false, query }), {
    code: "collection-unknown",
  });
  assert.deepEqual(await engine.documents({ collection: "fewer", isDeclared: true, query }), {
    rows: [],
  });
  const count = checkQuery({ aggregate: ["count", "sum(n)"] });
  const { rows } = await engine.documents({ collection: "fewer", isDeclared: true, query: count });
  assert.deepEqual(rows, ['{"group":{},"values":{"count":0,"sum(n)":0}}']);
});

test("fields are what an answer is made of, where they stand", async () => {
  await declare([{ name: "wide", indexes: [] }]);
  await fill("wide", [{ id: "w", body: { a: { b: 1, c: 2 }, d: [1, 2], "x/y": null } }]);
  const { rows } = await ask("wide", { fields: ["/a/b", "/x~1y", "/none", "id"] });
  assert.deepEqual(
    rows.map((row) => JSON.parse(row) as unknown),
    [{ id: "w", body: { a: { b: 1 }, "x/y": null } }],
  );
});

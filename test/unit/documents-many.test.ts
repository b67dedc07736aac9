/** Indexes and rules of very many collections: each is declared and made without a look at the others. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { createClaims } from "../../src/data/documents/claims.ts";
import { createIndexes } from "../../src/data/documents/indexes.ts";
import { keepRows, type Declared } from "../../src/data/documents/kept-rows.ts";
import type { Rule } from "../../src/data/documents/rules.ts";
import { openTables } from "../../src/data/documents/sqlite-tables.ts";
import { openDatabase, type Database } from "../../src/runtime/sqlite/index.ts";
import { range, temporaryFolder } from "../support/data.ts";

/** Counts how often all rows of a table are read. */
function counting(db: Database, table: RegExp): { db: Database; reads: () => number } {
  let reads = 0;
  const prepare = (sql: string) => {
    const statement = db.prepare(sql);
    if (!table.test(sql)) return statement;
    return {
      all: () => {
        reads++;
        return statement.all();
      },
    };
  };
  const counted = { prepare, exec: (sql: string) => db.exec(sql) };
  return { db: counted as unknown as Database, reads: () => reads };
}

test("D9: indexes and rules of many collections are declared, made and dropped with one look at all", () => {
  using folder = temporaryFolder();
  const db = openDatabase(join(folder.path, "a.db"));
  openTables(db, "a.db");
  const collections = range(1, 60);

  const index = counting(db, /SELECT number, collection, path, .* FROM document_index/);
  const indexes = createIndexes(index.db);
  for (const n of collections) indexes.declare(n, ["/a", "/b"]);
  while (indexes.step());
  for (const n of collections) indexes.declare(n, ["/b", "/c"]);
  while (indexes.step());
  for (const n of collections) assert.deepEqual(indexes.paths(n), ["/b", "/c"]);
  assert.equal(index.reads(), 1);
  const again = createIndexes(db);
  for (const n of collections) assert.deepEqual(again.paths(n), indexes.paths(n));
  assert.equal(again.step(), false, "all of them are whole");

  const rule = counting(db, /SELECT number, collection, text, .* FROM rule/);
  const claims = createClaims(rule.db);
  const unique = (path: string): Rule => ({ kind: "unique", paths: [path] });
  const naming: Rule = { kind: "reference", path: "/of", collection: "c1" };
  const make = () => {
    for (let row = claims.unfinished(); row; row = claims.unfinished())
      if (row.state === "building") claims.built(row, undefined);
      else claims.removeSome(row, 10);
  };
  for (const n of collections) claims.declare(`c${n}`, [unique("/b"), naming]);
  make();
  for (const n of collections) claims.declare(`c${n}`, [unique("/a"), unique("/b")]);
  make();
  assert.equal(rule.reads(), 1);
  const anew = createClaims(db);
  for (const n of collections) {
    assert.equal(claims.rulesOf(`c${n}`).length, 2);
    assert.deepEqual(claims.rulesOf(`c${n}`), anew.rulesOf(`c${n}`));
  }
  assert.deepEqual([claims.referencesTo("c1"), anew.referencesTo("c1")], [[], []]);
  db.close();
});

test("D9: rows that were changed one by one are those that would be read anew", () => {
  type Row = Declared & { readonly key: string };
  const change = fc.record({
    number: fc.integer({ min: 1, max: 6 }),
    key: fc.constantFrom("a", "b"),
    state: fc.constantFrom<Row["state"] | "removed">("building", "whole", "dropped", "removed"),
  });
  const options = {
    keyOf: ({ key }: Row) => key,
    isBefore: (a: Row, b: Row) => a.number < b.number,
  };
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const kept = keepRows<Row, string>([], options);
      const table = new Map<number, Row>();
      for (const { number, key, state } of changes) {
        if (state === "removed") {
          table.delete(number);
          kept.remove(number);
          continue;
        }
        // What a row belongs to stays.
        const row = { number, state, key: table.get(number)?.key ?? key };
        table.set(number, row);
        kept.put(row);
      }
      const rows = [...table.values()].sort((a, b) => a.number - b.number);
      for (const key of ["a", "b"]) {
        const wanted = rows.filter((row) => row.key === key && row.state !== "dropped");
        assert.deepEqual(kept.of(key), wanted);
        assert.equal(kept.has(key), wanted.length > 0);
      }
      assert.deepEqual(
        [...kept.all()].sort((a, b) => a.number - b.number),
        rows,
      );
      assert.equal(kept.isEmpty, rows.length === 0);
      const left = rows.filter(({ state }) => state !== "whole");
      const next = kept.unfinished();
      assert.ok(next ? left.includes(next) : left.length === 0);
    }),
    { numRuns: 300 },
  );
});

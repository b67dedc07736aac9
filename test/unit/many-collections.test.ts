/** Very many collections with hardly anything in them: what each costs does not grow with their number. */
import { strict as assert } from "node:assert";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { CollectionDeclaration } from "../../src/data/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { listing, openDocuments, put, replicate } from "../support/documents.ts";

const declared = (count: number): CollectionDeclaration[] =>
  range(1, count).map((n) => ({
    ...{ name: `c${n}`, schemaVersion: 1, onMismatch: "refuse" },
    fields: [{ path: "/n", type: "number", required: false }],
  }));

/** Writes a document into each of so many, has another store take them, opens it again; bytes for each. */
async function bytesOfEach(count: number): Promise<number> {
  using folder = temporaryFolder();
  const collections = declared(count);
  const path = join(folder.path, "a.db");
  let store = await openDocuments(path);
  const other = await openDocuments(join(folder.path, "b.db"), "n2");
  for (const each of [store, other]) await each.declare(collections);
  for (let from = 1; from <= count; from += 1000) {
    const writes = range(from, Math.min(count, from + 999)).map((n) => put("one", { n }, `c${n}`));
    const answer = await store.write(writes);
    assert.equal(answer.state === "stored" && answer.changed, writes.length);
  }
  await replicate(store, other, 256 * 1024);
  await store.close();
  store = await openDocuments(path);
  await store.declare(collections);
  for (const each of [store, other]) {
    const { collections: told } = await each.status();
    assert.equal(told.filter(({ documents }) => documents === 1).length, count);
    for (const n of [1, count >> 1, count]) {
      const found = await listing(each, `c${n}`);
      assert.deepEqual([found.length, found[0]?.includes(`"body":{"n":${n}}`)], [1, true]);
    }
  }
  // Declared again as they are, they are not written again.
  const before = statSync(`${path}-wal`).size;
  await store.declare(collections);
  assert.equal(statSync(`${path}-wal`).size, before);
  await Promise.all([store, other].map((each) => each.close()));
  return statSync(path).size / count;
}

test("D9: 20,000 collections of one document cost each what a tenth of them do, and are all there after a start and elsewhere", async () => {
  const few = await bytesOfEach(2_000);
  const many = await bytesOfEach(20_000);
  assert.ok(many < few * 1.2, `${many} bytes for each of 20,000, ${few} for each of 2000`);
});

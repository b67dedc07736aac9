/** Pages of documents and of changes end by what they hold, and nothing is left out between them. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { range, temporaryFolder } from "../support/data.ts";
import { openDocuments, put, write } from "../support/documents.ts";

const mib = 1024 * 1024;

test("D9: a page of large documents ends at 4 MiB, one of small ones at its limit", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const name = "x".repeat(250_000);
  const ids = range(100, 149).map((n) => `d${n}`);
  for (let from = 0; from < ids.length; from += 10)
    await write(store, ...ids.slice(from, from + 10).map((id) => put(id, { name })));
  await write(store, ...range(200, 349).map((n) => put(`d${n}`, { stock: n })));
  await write(
    store,
    ...range(300, 309).map((n) => ({ collection: "items", id: `d${n}`, do: "delete" }) as const),
  );
  const here = [...ids, ...range(200, 299), ...range(310, 349)].map((id) =>
    typeof id === "number" ? `d${id}` : id,
  );

  const listed: string[] = [];
  const sizes: number[] = [];
  for (let after: string | undefined; ;) {
    const page = await store.list({ collection: "items", limit: 100, ...(after ? { after } : {}) });
    assert.ok(JSON.stringify(page).length < 5 * mib);
    assert.ok(page.documents.length > 0);
    sizes.push(page.documents.length);
    listed.push(...page.documents.map(({ id }) => id));
    if (page.next === undefined) break;
    after = page.next;
  }
  assert.deepEqual(listed, here);
  assert.ok(sizes[0]! < 20, `${sizes[0]} large documents`);
  assert.ok(sizes.includes(100));

  const told = new Map<string, boolean>();
  for (let since: string | undefined; ;) {
    const page = await store.changes({
      collection: "items",
      limit: 1000,
      ...(since ? { since } : {}),
    });
    assert.ok(JSON.stringify(page).length < 5 * mib);
    for (const { id, deleted } of page.changes) {
      assert.ok(!told.has(id), `${id} twice`);
      told.set(id, deleted);
    }
    assert.equal(page.changes.at(-1)?.cursor ?? since, page.cursor);
    if (!page.more) break;
    since = page.cursor;
  }
  assert.deepEqual(
    [...told]
      .filter(([, deleted]) => !deleted)
      .map(([id]) => id)
      .sort(),
    here,
  );
  assert.equal([...told].filter(([, deleted]) => deleted).length, 10);
  const exact = await store.list({ collection: "items", after: "d149", limit: 140 });
  assert.deepEqual([exact.documents.length, exact.next], [140, undefined]);
  await store.close();
});

/** SIGKILL in the middle of writes, again and again: nothing acknowledged is gone, no batch is halved. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../support/data.ts";
import { bodyOf, listing, openDocuments, replicate } from "../support/documents.ts";
import { killedAfter } from "../support/killed-after.ts";

test("M7, M9, D7: a killed process loses no acknowledged document, and its log makes the same documents elsewhere", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "documents.db");
  const acknowledged: number[] = [];
  let first = 1;
  for (const acknowledgements of [3, 17, 41]) {
    const last = await killedAfter("documents-writer", { path, first, acknowledgements });
    for (let n = first; n <= last; n++) acknowledged.push(n);
    first = last + 1000;
  }
  const store = await openDocuments(path);
  const { stock, tags } = JSON.parse((await bodyOf(store, "tally"))!) as {
    stock: number;
    tags: number[];
  };
  assert.deepEqual(
    acknowledged.filter((n) => !tags.includes(n)),
    [],
  );
  assert.equal(stock, tags.length);
  // Each number is in the tally exactly when the other half of its batch is there.
  const left = (await listing(store)).length - 1;
  assert.equal(left, tags.length);
  assert.equal(Object.keys(await store.vector()).length, 3);
  const other = await openDocuments(join(folder.path, "other.db"), "n2");
  await replicate(store, other, 100_000);
  assert.deepEqual(await listing(other), await listing(store));
  await Promise.all([store.close(), other.close()]);
});

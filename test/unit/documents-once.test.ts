/** Writes under a client's key take effect once, and stand for nobody else's. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { DocumentStore, DocumentWrite } from "../../src/data/index.ts";
import { readOperation } from "../../src/data/documents/operation.ts";
import { temporaryFolder } from "../support/data.ts";
import { bodyOf, fill, openDocuments, put, replicate } from "../support/documents.ts";

const count = (by: number, collection = "items"): DocumentWrite => ({
  collection,
  id: "d",
  do: "change",
  changes: [{ change: "increment", path: "/stock", by }],
});
const send = async (
  store: DocumentStore,
  key: string,
  wish: DocumentWrite | readonly DocumentWrite[],
  caller?: string,
) => {
  const answer = await store.write([wish].flat(), { key, caller });
  return answer.state === "stored" ? answer.changed : `${answer.code} ${answer.message}`;
};
const another = "invalid-query idempotency-key: another write was sent with it before";

test("M6: a key goes with its caller, its collections and its body, on every node that heard of it", async () => {
  using folder = temporaryFolder();
  const [a, b, late] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
    await openDocuments(join(folder.path, "c.db"), "n3"),
  ];
  assert.equal(await send(a, "42", count(1), "shop"), 1);
  assert.equal(await send(a, "42", put("other", { text: "hello" }, "notes"), "shop"), 1);
  assert.equal(await send(a, "42", count(1), "till"), 1, "somebody else's");
  assert.equal(await send(a, "42", count(1)), 1, "of a caller that is not known");
  assert.equal(await send(a, "43", [count(1), put("e", { name: "x" })], "shop"), 2);
  await replicate(a, b);
  await fill(a, late, true);
  for (const store of [a, b, late]) {
    assert.equal(await bodyOf(store, "other", "notes"), '{"text":"hello"}');
    assert.equal(await send(store, "42", count(1), "shop"), 0);
    assert.equal(await send(store, "42", count(1), "till"), 0);
    assert.equal(await send(store, "43", [count(1), put("e", { name: "x" })], "shop"), 0);
    assert.equal(await send(store, "42", count(2), "shop"), another);
    assert.equal(await send(store, "42", put("f", {}), "shop"), another);
    assert.equal(await bodyOf(store, "d"), '{"stock":4}');
  }
  await Promise.all([a, b, late].map((store) => store.close()));
});

test("M6, M8: versions side by side know each other's keys", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "a.db");
  const first = await openDocuments(path);
  assert.equal(await send(first, "old", count(1)), 1);
  await first.close();
  const db = new DatabaseSync(path);
  const logged = readOperation(String(db.prepare("SELECT text FROM operation").get()?.["text"]));
  assert.equal(logged.key, "old", "what an earlier version takes for the key");
  assert.ok(logged.once);
  // As an earlier version would have kept it.
  db.exec("UPDATE write_key SET name = 'old'");
  db.close();
  const store = await openDocuments(path);
  assert.equal(await send(store, "old", count(1)), 0, "what was sent before the upgrade");
  assert.equal(await bodyOf(store, "d"), '{"stock":1}');
  await store.close();
});

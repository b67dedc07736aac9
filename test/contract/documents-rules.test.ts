/** Rules between documents: writes that break one are refused, merges that break one are listed. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import type {
  CollectionDeclaration,
  Document,
  DocumentStore,
  DocumentWrite,
} from "../../src/data/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { documentStores } from "../support/document-stores.ts";
import { fill, listing, put, replicate, truncate, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

const plain = { schemaVersion: 1, onMismatch: "refuse", fields: [] } as const;
const users: CollectionDeclaration = {
  ...plain,
  name: "users",
  unique: [{ paths: ["/mail"] }, { paths: ["/shop", "/name"] }],
};
const orders = (onDelete: "refuse" | "keep"): CollectionDeclaration => ({
  ...plain,
  name: "orders",
  references: [
    { path: "/by", collection: "users", onDelete },
    { path: "/after", collection: "orders", onDelete: "keep" },
  ],
});
const declare = async (onDelete: "refuse" | "keep", ...stores: readonly DocumentStore[]) => {
  for (const store of stores) await store.declare([users, orders(onDelete)]);
};
const user = (id: string, body: Document["body"]) => put(id, body, "users");
const order = (id: string, body: Document["body"]) => put(id, body, "orders");
const remove = (collection: string, id: string): DocumentWrite => ({
  collection,
  id,
  do: "delete",
});

const refused = async (store: DocumentStore, code: string, ...writes: readonly DocumentWrite[]) => {
  const before = await conflictsOf(store);
  const answer = await store.write(writes);
  assert.equal(answer.state === "refused" ? answer.code : answer.state, code);
  assert.deepEqual(await conflictsOf(store), before);
  return answer.state === "refused" ? answer.message : "";
};

/** Of all documents, by what lists show; and the counts that are kept hold it. */
async function conflictsOf(store: DocumentStore): Promise<string[]> {
  const lines: string[] = [];
  const { collections } = await store.status();
  for (const collection of ["users", "orders"]) {
    const all = await store.list({ collection, limit: 1000 });
    const conflicted = await store.list({ collection, limit: 1000, conflicted: true });
    const listed = all.documents.filter(({ conflicts }) => conflicts.length > 0);
    assert.deepEqual(conflicted.documents, listed);
    assert.equal(
      collections.find(({ name }) => name === collection)?.conflicted ?? 0,
      listed.length,
    );
    for (const { id, conflicts } of listed)
      for (const conflict of conflicts) {
        if (conflict.kind === "value-taken")
          lines.push(
            `${id} ${conflict.paths.join()} ${conflict.values.join()} by ${conflict.by.id}`,
          );
        else if (conflict.kind === "reference-missing")
          lines.push(`${id} ${conflict.path} ${conflict.collection}/${conflict.id}`);
        else lines.push(`${id} ${conflict.path} ${conflict.kind}`);
      }
  }
  return lines.sort();
}

const meet = async (...stores: readonly DocumentStore[]) => {
  for (const from of stores) for (const to of stores) if (from !== to) await replicate(from, to);
};

for (const { name, withStores } of documentStores) {
  test(
    `M16 ${name}: a write that breaks a rule is refused by its field, also in a batch, by what is there after it`,
    withStores(async (store) => {
      await declare("refuse", store);
      await write(
        store,
        user("a", { mail: "a@x", shop: 1, name: "n" }),
        user("b", { mail: "b@x" }),
      );
      assert.match(
        await refused(store, "value-taken", user("c", { mail: "a@x" })),
        /writes\[0\] \(users\/c\): \/mail: "a@x" is taken by users\/a/,
      );
      await refused(store, "value-taken", user("b", { mail: "a@x" }));
      await refused(store, "value-taken", user("c", { mail: "c@x" }), user("d", { mail: "c@x" }));
      await refused(store, "value-taken", user("d", { shop: 1, name: "n" }));
      // What lacks a field of the rule claims nothing; numbers and texts are not the same.
      await write(store, user("d", { shop: 1 }), user("e", { shop: 1 }), user("f", { mail: null }));
      await write(store, user("g", { shop: "1", name: "n" }), user("h", { mail: ["a@x"] }));
      // Both change places, and a value is free once its document is deleted.
      await write(
        store,
        { collection: "users", id: "a", do: "merge", patch: { mail: "b@x" } },
        { collection: "users", id: "b", do: "merge", patch: { mail: "a@x" } },
      );
      await write(store, remove("users", "a"), user("c", { mail: "b@x" }));

      assert.match(
        await refused(store, "reference-missing", order("o", { by: "nobody" })),
        /writes\[0\] \(orders\/o\): \/by: there is no document "nobody" in users/,
      );
      await refused(store, "reference-missing", order("o", { by: ["c", "a"] }));
      await refused(store, "reference-missing", order("o", { by: 7 }));
      await write(store, order("o", { by: ["c", "z"] }), user("z", {}));
      await write(store, order("p", { by: null, after: "p" }));
      assert.match(
        await refused(store, "document-referenced", remove("users", "z")),
        /writes\[0\] \(users\/z\): orders\/o names it in \/by/,
      );
      await refused(store, "document-referenced", remove("users", "z"), order("o", { by: "z" }));
      await write(store, remove("users", "z"), order("o", { by: "c" }));
      assert.deepEqual(await conflictsOf(store), []);
      // `keep`: what names it stays, and is listed.
      await declare("keep", store);
      await write(store, remove("users", "c"));
      assert.deepEqual(await conflictsOf(store), ["o /by users/c"]);
      // What was so before is not held against who writes another field.
      await write(store, { collection: "orders", id: "o", do: "merge", patch: { note: "x" } });
      await write(store, user("c", {}));
      assert.deepEqual(await conflictsOf(store), []);
    }),
  );

  test(
    `M17 ${name}: what a merge breaks stays, the earlier keeps the value, and a change settles it`,
    withStores(async (first, second, third) => {
      await declare("refuse", first, second, third);
      await write(first, user("x", { mail: "old@x" }), order("o", { by: "x" }));
      await meet(first, second);
      await write(first, user("a", { mail: "m@x" }));
      await write(second, user("b", { mail: "m@x" }));
      await write(third, user("c", { mail: "m@x" }));
      await write(first, order("p", { by: "x" }));
      await write(second, remove("orders", "o"), remove("users", "x"));
      await meet(third, second, first);
      await meet(first, second, third);
      const expected = ["b /mail m@x by a", "c /mail m@x by a", "p /by users/x"];
      for (const store of [first, second, third]) {
        assert.deepEqual(await conflictsOf(store), expected);
        for (const collection of ["users", "orders"])
          assert.deepEqual(await listing(store, collection), await listing(first, collection));
      }
      // Whose it is now is told to who follows changes of the one that did not change.
      const { cursor } = await third.changes({ collection: "users", limit: 1000 });
      await write(third, user("a", { mail: "other@x" }));
      const { changes } = await third.changes({ collection: "users", since: cursor });
      assert.deepEqual(changes.map(({ id }) => id).sort(), ["a", "b"]);
      assert.deepEqual(await conflictsOf(third), ["c /mail m@x by b", "p /by users/x"]);
      await write(third, remove("users", "c"), remove("orders", "p"));
      await meet(first, second, third);
      for (const store of [first, second, third]) assert.deepEqual(await conflictsOf(store), []);
      // By snapshot as well, from documents in any order.
      await write(first, order("q", { by: "a" }), user("w", { mail: "late@x" }));
      await write(third, user("v", { mail: "late@x" }), remove("users", "a"));
      await replicate(first, third);
      await truncate(third);
      await fill(third, second);
      assert.deepEqual(await conflictsOf(second), await conflictsOf(third));
      assert.equal((await conflictsOf(second)).length, 2);
    }),
  );

  test(
    `M17 ${name}: a rule that is declared later finds what is there, and one that is dropped forgets it`,
    withStores(async (store) => {
      await store.declare([
        { ...plain, name: "users" },
        { ...plain, name: "orders" },
      ]);
      const many = Array.from({ length: 250 }, (_, at) => order(`o${at}`, { by: "boss" }));
      await write(store, user("boss", { mail: "b@x" }), user("copy", { mail: "b@x" }), ...many);
      await write(store, user("third", { mail: "b@x" }));
      const becomes = (what: string, count: number) =>
        waitFor(async () => (await conflictsOf(store)).length === count, { what });
      await declare("keep", store);
      await becomes("two documents to be listed for a value", 2);
      // More documents name it than one write looks at.
      await write(store, remove("users", "boss"));
      await becomes("all that named it to be listed", 251);
      await write(store, user("boss", { mail: "c@x" }));
      await becomes("all that named it to be settled", 1);
      await store.declare([
        { ...plain, name: "users" },
        { ...plain, name: "orders" },
      ]);
      await becomes("conflicts by rules to be forgotten", 0);
      await write(store, user("again", { mail: "b@x" }));
      assert.deepEqual(await conflictsOf(store), []);
    }),
  );
}

/** What the rules say, from all documents and nothing else; who is earlier only has to be agreed on. */
function expectedOf(all: readonly Document[]): string[] {
  const lines: string[] = [];
  const byMail = Map.groupBy(
    all.filter(({ collection, body }) => collection === "users" && "mail" in body),
    ({ body }) => stable(body["mail"]),
  );
  for (const [mail, { length }] of byMail)
    if (length > 1) lines.push(`${mail} ${length - 1} times`);
  const ids = new Set(all.filter(({ collection }) => collection === "users").map(({ id }) => id));
  for (const { collection, id, body } of all)
    if (collection === "orders" && "by" in body && !ids.has(String(body["by"])))
      lines.push(`${id} names ${String(body["by"])}`);
  return lines.sort();
}

const [{ withStores } = { withStores: undefined }] = documentStores;
assert.ok(withStores);
for (const seed of [1, 2, 3])
  test(
    `M16, M17: stores that wrote apart list the same, and what a model lists (seed ${seed})`,
    withStores(async (first, second, third) => {
      const stores = [first, second, third] as const;
      const random = seededRandom(seed);
      const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
      await declare(seed % 2 === 0 ? "refuse" : "keep", ...stores);
      for (let step = 0; step < 120; step++) {
        const store = pick(stores);
        const chance = random.float();
        const id = pick(["a", "b", "c", "d"]);
        if (chance < 0.2) {
          const [from, to] = [pick(stores), pick(stores)];
          if (from !== to) await replicate(from, to, 200);
        } else if (chance < 0.35) await store.write([remove(pick(["users", "orders"]), id)]);
        else if (chance < 0.7) await store.write([user(id, { mail: pick(["1", "2", "3"]) })]);
        else await store.write([order(id, { by: pick(["a", "b", "c", "d"]) })]);
      }
      await meet(...stores);
      await meet(...stores);
      const all: Document[] = [];
      for (const collection of ["users", "orders"])
        all.push(...(await stores[0].list({ collection, limit: 1000 })).documents);
      const found: string[] = [];
      const taken = all.flatMap(({ conflicts }) =>
        conflicts.flatMap((each) => (each.kind === "value-taken" ? [stable(each.values[0])] : [])),
      );
      for (const [mail, { length }] of Map.groupBy(taken, (mail) => mail))
        found.push(`${mail} ${length} times`);
      for (const { id, conflicts } of all)
        for (const each of conflicts)
          if (each.kind === "reference-missing" && each.path === "/by")
            found.push(`${id} names ${each.id}`);
      assert.deepEqual(found.sort(), expectedOf(all));
      for (const store of stores) {
        assert.deepEqual(await conflictsOf(store), await conflictsOf(stores[0]));
        for (const collection of ["users", "orders"])
          assert.deepEqual(await listing(store, collection), await listing(stores[0], collection));
      }
    }),
  );

/** The contract of a store of documents, for the store itself and for its two halves across a thread. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import { bodyOf, listing, put, replicate, write } from "../support/documents.ts";
import { documentStores } from "../support/document-stores.ts";

for (const { name, withStores } of documentStores) {
  test(
    `${name}: documents are put, patched, changed, read and deleted`,
    withStores(async (store) => {
      const body = { name: "bolt", stock: 5, tags: ["b", "a"], steps: ["x", "y"], size: { mm: 8 } };
      assert.equal((await write(store, put("a1", body))).changed, 1);
      assert.equal(
        await bodyOf(store, "a1"),
        '{"name":"bolt","size":{"mm":8},"steps":["x","y"],"stock":5,"tags":["a","b"]}',
      );
      await write(store, {
        collection: "items",
        id: "a1",
        do: "merge",
        patch: { size: { mm: null, inch: 1 } },
      });
      await write(store, {
        collection: "items",
        id: "a1",
        do: "change",
        changes: [
          { change: "increment", path: "/stock", by: -2 },
          { change: "add", path: "/tags", value: "c" },
          { change: "discard", path: "/tags", value: "a" },
          { change: "insert", path: "/steps", index: 1, values: ["m"] },
          { change: "delete", path: "/steps", index: 0 },
          { change: "set", path: "/size/mm", value: 9 },
          { change: "remove", path: "/name" },
        ],
      });
      assert.equal(
        await bodyOf(store, "a1"),
        '{"size":{"inch":1,"mm":9},"steps":["m","y"],"stock":3,"tags":["b","c"]}',
      );
      assert.equal(
        (await write(store, { collection: "items", id: "a1", do: "delete" })).changed,
        1,
      );
      assert.equal(await bodyOf(store, "a1"), undefined);
      await write(store, put("a1", { stock: 1 }));
      assert.equal(await bodyOf(store, "a1"), '{"stock":1}');
    }),
  );

  test(
    `M6 ${name}: the same request again changes nothing, a counted one when it carries a key`,
    withStores(async (store) => {
      const requests = [put("a1", { name: "x", tags: ["t"] }), put("a2", {})];
      await write(store, ...requests);
      assert.equal((await write(store, ...requests)).changed, 0);
      const gone = { collection: "items", id: "a2", do: "delete" } as const;
      await write(store, gone);
      assert.equal((await write(store, gone)).changed, 0);
      const more = {
        collection: "items",
        id: "a1",
        do: "change",
        changes: [{ change: "increment", path: "/stock", by: 1 }],
      } as const;
      for (const key of ["k1", "k1", "k2"]) await store.write([more], { key });
      assert.equal(await bodyOf(store, "a1"), '{"name":"x","stock":2,"tags":["t"]}');
    }),
  );

  test(
    `M7 ${name}: a batch is written whole or not at all, and told to others whole`,
    withStores(async (first, second) => {
      const answer = await first.write([
        put("a1", { name: "x" }),
        { ...put("a2", {}), body: { name: 3 } },
      ] as never);
      assert.equal(answer.state, "refused");
      assert.match(
        answer.state === "refused" ? answer.message : "",
        /writes\[1\].*\/name: 3 must be text/,
      );
      assert.deepEqual(await listing(first), []);
      await write(first, put("a1", { name: "x" }), put("a2", { name: "y" }));
      const grown: string[][] = [];
      second.on("grown", ({ collections }) => grown.push([...collections]));
      await replicate(first, second, 1);
      assert.deepEqual(await listing(second), await listing(first));
      assert.deepEqual(grown, [["items"]]);
    }),
  );

  test(
    `${name}: what does not fit is refused by name, or taken with a warning; unknown fields stay`,
    withStores(async (store) => {
      const refusal = async (...writes: unknown[]) => {
        const answer = await store.write(writes as never);
        return answer.state === "refused" ? `${answer.code} ${answer.message}` : answer.state;
      };
      const change = (...changes: unknown[]) => ({
        collection: "items",
        id: "a",
        do: "change",
        changes,
      });
      assert.match(
        await refusal({ ...put("a", {}), collection: "itms" }),
        /^collection-unknown .*"itms"/,
      );
      assert.match(await refusal(put("", {})), /^invalid-document writes\[0\]\.id/);
      assert.match(await refusal(put("a\u0000", {})), /^invalid-document writes\[0\]\.id/);
      assert.match(await refusal(put("a", [] as never)), /^invalid-document writes\[0\]\.body/);
      assert.match(await refusal(put("a", { n: 1 / 0 })), /^invalid-document .*1\.8e308/);
      assert.match(await refusal(put("a", { x: "y".repeat(300_000) })), /^document-too-large/);
      assert.match(
        await refusal(change({ change: "increment", path: "/name", by: 1 })),
        /declared as string/,
      );
      assert.match(
        await refusal(change({ change: "set", path: "name", value: 1 })),
        /JSON pointer/,
      );
      assert.match(await refusal(change({ change: "turn", path: "/name" })), /must be set, remove/);
      assert.match(
        await refusal(...Array.from({ length: 1001 }, () => put("a", {}))),
        /^batch-too-large/,
      );
      const warned = await write(store, put("n", { extra: true, ["__proto__"]: 1 }, "notes"));
      assert.deepEqual(warned.warnings, ["writes[0] (notes/n): /text is required"]);
      const found = await store.read({ collection: "notes", id: "n" });
      assert.equal(stable(found?.body), '{"__proto__":1,"extra":true}');
      assert.equal(found?.schemaVersion, 3);
    }),
  );

  test(
    `${name}: lists go by id in pages, changes by cursor, each document once`,
    withStores(async (store) => {
      for (const id of ["b", "a", "d", "c", "é"]) await write(store, put(id, { name: id }));
      const first = await store.list({ collection: "items", limit: 3 });
      assert.deepEqual(
        first.documents.map(({ id }) => id),
        ["a", "b", "c"],
      );
      const rest = await store.list({ collection: "items", after: first.next });
      assert.deepEqual([rest.documents.map(({ id }) => id), rest.next], [["d", "é"], undefined]);
      const begin = await store.changes({ collection: "items", limit: 4 });
      assert.deepEqual(
        begin.changes.map(({ id }) => id),
        ["b", "a", "d", "c"],
      );
      await write(store, put("b", { name: "again" }), {
        collection: "items",
        id: "d",
        do: "delete",
      });
      const { changes, more } = await store.changes({ collection: "items", since: begin.cursor });
      assert.deepEqual(
        changes.map(({ id, deleted }) => [id, deleted]),
        [
          ["é", false],
          ["b", false],
          ["d", true],
        ],
      );
      assert.equal(more, false);
      await assert.rejects(store.changes({ collection: "items", since: "other.3" }), {
        code: "invalid-cursor",
      });
      await assert.rejects(store.list({ collection: "items", limit: 0 }), {
        code: "invalid-limit",
      });
      await assert.rejects(store.list({ collection: "nothing" }), { code: "collection-unknown" });
    }),
  );

  test(
    `M1, M2 ${name}: stores that wrote apart are equal afterwards, and keep what was not shown`,
    withStores(async (first, second, third) => {
      await write(first, put("a", { name: "n", stock: 10, tags: ["t"], steps: ["1", "2"] }));
      await replicate(first, second);
      const change = (changes: unknown) =>
        ({ collection: "items", id: "a", do: "change", changes }) as never;
      await write(
        first,
        change([
          { change: "increment", path: "/stock", by: -3 },
          { change: "set", path: "/name", value: "one" },
        ]),
      );
      await write(
        second,
        change([
          { change: "increment", path: "/stock", by: 5 },
          { change: "set", path: "/name", value: "two" },
        ]),
      );
      await write(
        first,
        change([
          { change: "discard", path: "/tags", value: "t" },
          { change: "insert", path: "/steps", values: ["3"] },
        ]),
      );
      await write(
        second,
        change([
          { change: "add", path: "/tags", value: "t" },
          { change: "insert", path: "/steps", values: ["4"] },
        ]),
      );
      // The third hears of the second's work first, which knew of the first's.
      await replicate(second, third, 1);
      await replicate(first, third, 1);
      await replicate(third, first, 1);
      await replicate(first, second, 1);
      const [document] = (await first.list({ collection: "items", conflicted: true })).documents;
      assert.deepEqual([document?.body["stock"], document?.body["tags"]], [12, ["t"]]);
      assert.deepEqual([...((document?.body["steps"] ?? []) as string[])].sort(), [
        "1",
        "2",
        "3",
        "4",
      ]);
      assert.deepEqual(
        document?.conflicts.map(({ path }) => path),
        ["/name"],
      );
      for (const store of [second, third])
        assert.deepEqual(await listing(store), await listing(first));
      const held = async () =>
        (await third.status()).collections.find(({ name }) => name === "items");
      assert.deepEqual(await held(), { name: "items", documents: 1, conflicted: 1 });
      const shown = document?.body["name"] as string;
      await write(third, change([{ change: "set", path: "/name", value: shown }]));
      assert.deepEqual((await third.list({ collection: "items", conflicted: true })).documents, []);
      assert.deepEqual(await held(), { name: "items", documents: 1, conflicted: 0 });
      await write(third, { collection: "items", id: "a", do: "delete" });
      assert.deepEqual(await held(), { name: "items", documents: 0, conflicted: 0 });
    }),
  );

  test(
    `M8 ${name}: an operation waits for what its writer knew, and pieces come twice or not at all`,
    withStores(async (first, second, third) => {
      await write(first, put("a", { name: "1" }));
      await replicate(first, second);
      await write(second, put("a", { name: "2" }));
      const [origin] = Object.keys(await second.vector()).filter((each) => each.startsWith("n2."));
      const late = await second.log({ origin: origin!, from: 1 });
      assert.equal((await third.apply(late!.bytes)).top, 1);
      assert.equal((await third.apply(late!.bytes)).stored, 0);
      assert.equal(await bodyOf(third, "a").catch(({ code }) => code), undefined);
      assert.equal((await third.status()).waiting, 1);
      await write(second, put("a", { name: "3" }), put("b", {}));
      await write(second, put("a", { name: "4" }));
      const beyond = await second.log({ origin: origin!, from: 3 });
      assert.equal((await third.apply(beyond!.bytes)).state, "gap");
      await assert.rejects(third.apply(beyond!.bytes.subarray(0, 30)), { code: "invalid-batch" });
      await assert.rejects(third.apply(Buffer.from("SKD1nonsense")), { code: "invalid-batch" });
      await replicate(first, third);
      assert.equal(await bodyOf(third, "a"), '{"name":"2"}');
      await replicate(second, third);
      assert.deepEqual(await listing(third), await listing(second));
      assert.equal((await third.status()).waiting, 0);
    }),
  );
}

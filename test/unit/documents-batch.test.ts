/** Pieces of logs on a link: what was sent is what is read, and nothing else is taken for one. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { decodeOperations, encodeOperations } from "../../src/data/documents/codec.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { bodyOf, listing, openDocuments, put, replicate, write } from "../support/documents.ts";

const text = (operation: object) => JSON.stringify({ hlc: 1, seen: {}, writes: [], ...operation });
const writing = (changes: unknown) =>
  text({ writes: [{ collection: "items", id: "a", verb: "edit", changes }] });

test("a batch is read as it was written; a cut or changed one is refused, never half of it", () => {
  const batch = { origin: "n1.a", from: 3, texts: [text({ seen: { "n2.b": 4 } }), writing([])] };
  const bytes = encodeOperations(batch);
  const { operations, ...read } = decodeOperations(bytes);
  assert.deepEqual(read, batch);
  assert.deepEqual(operations[0]?.seen, { "n2.b": 4 });
  fc.assert(
    fc.property(
      fc.nat({ max: bytes.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (at, flip, cut) => {
        const changed = cut ? bytes.slice(0, at) : bytes.slice();
        if (!cut) changed[at] = (changed[at] ?? 0) ^ flip;
        try {
          decodeOperations(changed);
        } catch (error) {
          assert.ok(error instanceof SkerryError && error.code === "invalid-batch", String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("operations that no version writes are refused by field", () => {
  const refused = (operation: string) => {
    try {
      decodeOperations(encodeOperations({ origin: "n1.a", from: 1, texts: [operation] }));
      return "taken";
    } catch (error) {
      return error instanceof SkerryError ? error.message : String(error);
    }
  };
  for (const [operation, complaint] of [
    ["[]", /must be an object/],
    ["{", /is not JSON/],
    [text({ hlc: -1 }), /hlc/],
    [text({ seen: { a: 0 } }), /seen/],
    [text({ key: 3 }), /key/],
    [text({ writes: [{ collection: "a", id: "b", verb: "burn", changes: [] }] }), /verb/],
    [writing([{ path: "/a" }]), /changes/],
    [writing([{ type: "set", path: "a", value: 1 }]), /set is not as/],
    [writing([{ type: "set", path: "/a" }]), /set is not as/],
    [writing([{ type: "count", path: "/a", by: "1" }]), /count is not as/],
    [writing([{ type: "insert", path: "/a", after: 1, n: 1, values: [] }]), /insert is not as/],
    [
      writing([{ type: "remove", path: "/a", counts: { "/a": { o: [0, 1] } } }]),
      /remove is not as/,
    ],
    [writing([{ type: "rotate", by: "a later version" }]), /^taken$/],
  ] as const)
    assert.match(refused(operation), complaint);
});

test("M8: changes and collections that this version does not know are kept, passed on, and applied once it does", async () => {
  using folder = temporaryFolder();
  const [path, otherPath] = [join(folder.path, "a.db"), join(folder.path, "b.db")];
  let store = await openDocuments(path);
  const later = JSON.stringify({ type: "rotate", path: "/name", angle: 3 });
  const known = JSON.stringify({ type: "set", path: "/name", value: "kept" });
  const texts = [
    writing([JSON.parse(later), JSON.parse(known)]),
    text({
      writes: [{ collection: "later", id: "x", verb: "edit", changes: [JSON.parse(known)] }],
    }),
  ];
  await store.apply(encodeOperations({ origin: "n9.later", from: 1, texts }));
  assert.equal(await bodyOf(store, "a"), '{"name":"kept"}');
  assert.equal(await bodyOf(store, "x", "later"), '{"name":"kept"}');
  const other = await openDocuments(otherPath, "n2");
  await replicate(store, other);
  assert.deepEqual(
    (await other.log({ origin: "n9.later", from: 1 }))?.bytes,
    (await store.log({ origin: "n9.later", from: 1 }))?.bytes,
  );
  await other.close();
  await store.close();
  // As if an earlier version, which did not know "set" either, had made the documents.
  const db = openDatabase(path);
  db.exec(
    `UPDATE meta SET value = 'remove' WHERE name = 'left_out'; UPDATE document SET body = NULL, state = '{}'`,
  );
  db.close();
  store = await openDocuments(path);
  await write(store, put("b", {}));
  assert.equal(await bodyOf(store, "a"), '{"name":"kept"}');
  await store.close();
});

test("D9: a file that may not grow refuses, keeps what it acknowledged, and is read on", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "full.db"), "n1", { fileBytesMax: 400_000 });
  const fill = "x".repeat(20_000);
  let acknowledged = 0;
  for (;;) {
    const answer = await store.write([put(`d${String(acknowledged).padStart(3, "0")}`, { fill })]);
    if (answer.state === "refused") {
      assert.deepEqual([answer.code, answer.retryable], ["disk-full", true]);
      break;
    }
    acknowledged++;
  }
  assert.ok(acknowledged > 3 && acknowledged < 30, String(acknowledged));
  assert.equal((await listing(store)).length, acknowledged);
  await store.close();
});

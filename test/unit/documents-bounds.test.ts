/** Documents that would grow past what a store can keep or tell: what is refused, and what merges may do. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import type { CollectionDeclaration, DocumentStore, DocumentWrite } from "../../src/data/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import {
  bodyOf,
  fill,
  listing,
  openDocuments,
  put,
  replicate,
  write,
} from "../support/documents.ts";

const refusal = async (store: DocumentStore, ...writes: readonly DocumentWrite[]) => {
  const answer = await store.write(writes);
  return answer.state === "refused"
    ? `${answer.code} ${answer.message} ${answer.hint ?? ""}`
    : answer.state;
};
const fieldsOf = (count: number, value: unknown = 1) =>
  Object.fromEntries(range(1, count).map((n) => [`f${n}`, value])) as Record<string, number>;

test("D9, M22: a long name over many fields is refused by what its paths come to, and nothing of it is kept", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const other = await openDocuments(join(folder.path, "b.db"), "n2");
  const long = "n".repeat(50_000);
  const tooLong =
    /^document-too-large writes\[0\]\.\S+: the paths .* are \d+ bytes at most 1048576/;
  // 70 kB of JSON, of which each field would be written down with 50 kB of path: 100 MB.
  const poison = { [long]: fieldsOf(1500) };
  assert.match(await refusal(store, put("a", poison)), tooLong);
  assert.match(await refusal(store, put("a", { x: { y: { z: poison } } })), tooLong);
  const at = (change: object) =>
    ({ collection: "items", id: "a", do: "change", changes: [change] }) as DocumentWrite;
  assert.match(
    await refusal(store, at({ change: "set", path: `/${long}`, value: fieldsOf(500) })),
    tooLong,
  );
  assert.match(
    await refusal(store, { collection: "items", id: "a", do: "merge", patch: poison }),
    tooLong,
  );
  assert.deepEqual([await store.vector(), await listing(store)], [{}, []]);
  // What is in a list is one value, however it is named.
  await write(store, put("list", { all: [poison] }), put("fits", { [long]: fieldsOf(20) }));
  // Many documents that each fit.
  const half = { ["n".repeat(1000)]: fieldsOf(1000) };
  const many = range(1, 12).map((n) => put(`many${n}`, half));
  assert.match(
    await refusal(store, ...many),
    /^batch-too-large writes: the paths .* 8388608 bytes/,
  );
  await write(store, ...many.slice(0, 4));
  await replicate(store, other, 256 * 1024);
  assert.deepEqual(await listing(other), await listing(store));
  await Promise.all([store, other].map((each) => each.close()));
});

test("D2, D9, M22: no operation is logged that other stores could not take", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const other = await openDocuments(join(folder.path, "b.db"), "n2");
  // To take a counter away an operation names what it saw of it: a short request, and a long one to tell.
  const paths = range(1, 100).map((n) => `/${"c".repeat(1000)}${n}`);
  const tills: CollectionDeclaration = {
    name: "tills",
    schemaVersion: 1,
    onMismatch: "refuse",
    fields: paths.map((path) => ({ path, type: "counter", required: false })),
  };
  for (const each of [store, other]) await each.declare([tills]);
  const ids = range(1, 130).map((n) => `t${n}`);
  const body = Object.fromEntries(paths.map((path) => [path.slice(1), 1]));
  for (let from = 0; from < ids.length; from += 25)
    await write(store, ...ids.slice(from, from + 25).map((id) => put(id, body, "tills")));
  const before = await store.vector();
  const emptied = ids.map((id) => put(id, {}, "tills"));
  assert.match(await refusal(store, ...emptied), /^batch-too-large .* at most 25165824/);
  assert.deepEqual(await store.vector(), before);
  assert.ok((await bodyOf(store, "t1", "tills")) === stable(body), "as it was");
  for (let from = 0; from < ids.length; from += 50)
    await write(store, ...emptied.slice(from, from + 50));
  await replicate(store, other, 256 * 1024);
  assert.deepEqual(await listing(other, "tills"), await listing(store, "tills"));
  assert.equal(await bodyOf(other, "t130", "tills"), "{}");
  await Promise.all([store, other].map((each) => each.close()));
});

test("M1, M22: merges may make a document larger than a writer may; it stays whole, and is made smaller, not larger", async () => {
  using folder = temporaryFolder();
  const open = (node: string) => openDocuments(join(folder.path, `${node}.db`), node);
  const [first, second, third] = await Promise.all([open("n1"), open("n2"), open("n3")]);
  const stores = [first, second, third];
  const most = "x".repeat(255_000);
  for (const [at, store] of stores.entries())
    await write(store, put("big", { [`of${at + 1}`]: most }));
  for (const from of stores) for (const to of stores) if (from !== to) await replicate(from, to);
  const whole = `{"of1":"${most}","of2":"${most}","of3":"${most}"}`;
  for (const store of stores) assert.equal(await bodyOf(store, "big"), whole);

  const patch = (body: Record<string, string | null>): DocumentWrite => ({
    ...{ collection: "items", id: "big", do: "merge", patch: body },
  });
  assert.match(
    await refusal(first, patch({ more: "y" })),
    /^document-too-large writes\[0\] \(items\/big\): 765\d+ bytes .* at most 262144 bytes/,
  );
  // Still more than 256 KiB, and less than before.
  await write(second, patch({ of1: null }));
  await write(third, patch({ of2: "short", of3: null }));
  assert.equal(await bodyOf(third, "big"), `{"of1":"${most}","of2":"short"}`);
  for (const from of stores) for (const to of stores) if (from !== to) await replicate(from, to);
  for (const store of stores) assert.equal(await bodyOf(store, "big"), '{"of2":"short"}');
  await write(first, patch({ more: "y" }));

  // As documents, to a store that has no log: conflicts of the size of all writers are no obstacle.
  for (const store of stores) await write(store, put("torn", { name: most + store.node }));
  for (const from of [second, third]) await replicate(from, first);
  const fresh = await open("n4");
  assert.ok((await fill(first, fresh, true)) > 0);
  assert.deepEqual(await listing(fresh), await listing(first));
  assert.equal((await fresh.read({ collection: "items", id: "torn" }))?.conflicts.length, 1);
  await Promise.all([...stores, fresh].map((each) => each.close()));
});

test("D9: a request that goes through a long list again and again is refused, and one that puts its changes together is not", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const change = (...changes: object[]) =>
    ({ collection: "items", id: "long", do: "change", changes }) as DocumentWrite;
  const insert = { change: "insert", path: "/steps", values: range(1, 10_000) };
  const some = [insert, insert, insert, insert];
  await write(
    store,
    change(...some, { change: "delete", path: "/steps", index: 0, count: 39_990 }),
  );
  const before = await listing(store);
  const one = { ...insert, values: ["one more"] };
  const between = { change: "set", path: "/steps/within", value: 1 };
  const back = range(1, 500).flatMap(() => [one, between]);
  assert.match(
    await refusal(store, change(...back)),
    /^batch-too-large writes\[0\] \(items\/long\): .* 100\d+ places of lists.* at most 10000000:/,
  );
  assert.match(
    await refusal(store, ...range(1, 260).map(() => change(one))),
    /^batch-too-large writes\[249\] \(items\/long\): /,
  );
  const none = [
    { ...insert, values: [] },
    { change: "delete", path: "/steps", index: 0, count: 0 },
  ];
  assert.equal((await write(store, change(...none))).changed, 0);
  assert.deepEqual(await listing(store), before);
  const beside = { change: "set", path: "/name", value: "x" };
  await write(store, change(...range(1, 500).flatMap(() => [one, beside])));
  assert.match(
    (await bodyOf(store, "long"))!,
    /"name":"x","steps":\[(\d+,){10}("one more",?){500}\]/,
  );
  await store.close();
});

test("D9: a list that is used as a queue says when it remembers too much, and can be read and emptied", async () => {
  using folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "a.db"));
  const change = (...changes: object[]) =>
    ({ collection: "items", id: "queue", do: "change", changes }) as DocumentWrite;
  const insert = { change: "insert", path: "/steps", values: range(1, 9_000) };
  const remove = { change: "delete", path: "/steps", index: 0, count: 9_000 };
  for (let round = 0; round < 5; round++) await write(store, change(insert, remove));
  await write(store, change({ ...insert, values: range(1, 5_000) }));
  const crowded = /^document-too-large .* \/steps would remember 50001 places, .* at most 50000 /;
  const one = { ...insert, values: ["one more"] };
  assert.match(await refusal(store, change(one)), crowded);
  assert.match(await refusal(store, put("queue", { steps: [1, "one more"] })), crowded);
  await write(store, change({ ...remove, count: 4_999 }));
  assert.equal(await bodyOf(store, "queue"), '{"steps":[5000]}');
  await write(store, change({ change: "set", path: "/name", value: "other fields go on" }));
  await write(store, put("queue2", { steps: ["one more"] }));
  await store.close();
});

/** Lists and watches share their objects, at the ledger and at a mirror (R14). */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { configMapKind, type ConfigMap, type Pod } from "../../src/api/index.ts";
import type { KeyValue, Revision } from "../../src/ledger/index.ts";
import { createSharedDecode } from "../../src/resources/ledger/shared.ts";
import { createReflection } from "../../src/resources/mirror/reflection.ts";

const stored = (name: string, revision: number): KeyValue => ({
  key: `/registry/core/pods/default/${name}`,
  value: Buffer.from(JSON.stringify({ kind: "Pod", metadata: { name, labels: { a: "b" } } })),
  createRevision: 1 as Revision,
  modRevision: revision as Revision,
  version: 1,
});

test("R14: readers of one revision get one object, of another revision another", () => {
  const decode = createSharedDecode();
  const first = decode<Pod>(stored("a", 5));
  assert.equal(first.metadata.resourceVersion, "5");
  assert.equal(decode(stored("a", 5)), first);
  assert.equal(decode<Pod>(stored("a", 6)).metadata.resourceVersion, "6");
  assert.equal(decode<Pod>(stored("b", 5)).metadata.name, "b");
  assert.equal(
    decode<Pod>(stored("a", 5)).metadata.resourceVersion,
    "5",
    "an older one, asked for",
  );
});

test("R14: nobody can change what others read, at any depth", () => {
  const shared = createSharedDecode()<Pod>(stored("a", 5));
  assert.throws(() => Object.assign(shared.metadata, { name: "b" }), TypeError);
  assert.throws(() => Object.assign(shared.metadata.labels ?? {}, { a: "c" }), TypeError);
});

const configMap = (name: string, revision: number): ConfigMap => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace: "default", uid: name, resourceVersion: String(revision) },
  data: { key: "value" },
});

test("R14: all readers of a mirror get one object, which nobody can change; by name a copy", async () => {
  const reflection = createReflection(configMapKind);
  reflection.load([configMap("old", 3)]);
  const watches = [1, 2].map(() => reflection.watch({ resourceVersion: "3" }));
  const told = watches.map(async (events) => {
    for await (const event of events) if (event.type === "ADDED") return event.object;
    throw new Error("the watch ended");
  });
  reflection.apply({ type: "ADDED", object: configMap("new", 4) });
  const [one, other] = await Promise.all(told);
  assert.ok(one);
  assert.equal(one, other);
  const listed = reflection.list({}).items;
  assert.deepEqual(
    listed.map(({ metadata }) => metadata.name),
    ["new", "old"],
  );
  assert.equal(listed[0], one);
  for (const object of listed)
    assert.throws(
      () => Object.assign((object as ConfigMap).data ?? {}, { key: "other" }),
      TypeError,
    );
  const own = reflection.get({ namespace: "default", name: "new" });
  assert.ok(own && own !== one);
  Object.assign(own.metadata, { name: "mine" });
  assert.equal(one.metadata.name, "new");
});

test("R4: who watches a mirror from before the last bookmark is told of it, though nothing changes any more", async () => {
  const reflection = createReflection(configMapKind);
  reflection.load([configMap("old", 3)]);
  reflection.apply({ type: "BOOKMARK", resourceVersion: "9" });
  const next = async (resourceVersion: string) => {
    const signal = AbortSignal.timeout(30_000);
    for await (const event of reflection.watch({ resourceVersion, signal })) return event;
    return "nothing";
  };
  assert.deepEqual(await next("3"), { type: "BOOKMARK", resourceVersion: "9" });
  reflection.apply({ type: "ADDED", object: configMap("new", 11) });
  const told = await next("3");
  assert.ok(told !== "nothing" && told.type === "ADDED", "what changed comes first");
  const silent = next("11");
  reflection.apply({ type: "BOOKMARK", resourceVersion: "12" });
  assert.deepEqual(await silent, { type: "BOOKMARK", resourceVersion: "12" }, "nothing twice");
});

test("a mirror starts with as many objects as the disk holds", () => {
  const reflection = createReflection(configMapKind);
  const count = 150_000;
  reflection.load(
    Array.from({ length: count }, (_, index) => configMap(`object-${index}`, index + 1)),
  );
  assert.equal([...reflection.all()].length, count);
  assert.equal(reflection.list({ labelSelector: "none=here" }).resourceVersion, String(count));
});

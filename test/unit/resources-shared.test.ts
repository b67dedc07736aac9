/** Lists and watches of the ledger share their objects (R14). */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Pod } from "../../src/api/index.ts";
import type { KeyValue, Revision } from "../../src/ledger/index.ts";
import { createSharedDecode } from "../../src/resources/ledger/shared.ts";

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

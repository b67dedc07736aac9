/** Objects as bytes: what is shared is written out once, and never differs from what is not. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { KubeObject } from "../../src/api/index.ts";
import { createObjectEncoder } from "../../src/apiserver/encoded.ts";

const pod = (name: string): KubeObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", labels: { note: 'ü "quoted"' } },
});

test("apiserver: a list and a frame are what JSON.stringify would write", () => {
  const encoder = createObjectEncoder();
  const head = { kind: "PodList", apiVersion: "v1", metadata: { resourceVersion: "7" } };
  for (const items of [[], [pod("a")], [pod("a"), pod("ä"), pod("c")]])
    assert.equal(String(encoder.list(head, items)), JSON.stringify({ ...head, items }));
  const line = `${JSON.stringify({ type: "ADDED", object: pod("a") })}\n`;
  assert.equal(String(encoder.frame("ADDED", pod("a"))), line);
});

test("apiserver: only what nobody can change is kept as bytes", () => {
  const encoder = createObjectEncoder();
  const shared = Object.freeze(pod("shared"));
  assert.equal(encoder.object(shared), encoder.object(shared), "written out once");
  const own = { ...pod("own") };
  assert.match(String(encoder.object(own)), /"own"/);
  own.metadata = { ...own.metadata, name: "renamed" };
  assert.match(String(encoder.object(own)), /"renamed"/);
});

test("what is kept of a frozen object is no larger than itself", () => {
  const frozen = Object.freeze({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "größe" },
  });
  const bytes = createObjectEncoder().object(frozen);
  assert.deepEqual(JSON.parse(bytes.toString()), frozen);
  // A piece of Node's pool keeps all of the pool.
  assert.equal(bytes.buffer.byteLength, bytes.byteLength);
});

/** R8: patches, by the examples of their RFCs and of Kubernetes, and against naive oracles. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { deploymentKind, podKind, serviceKind, structureOf } from "../../src/api/index.ts";
import { applyJsonPatch } from "../../src/resources/patch/json-patch.ts";
import { applyMergePatch } from "../../src/resources/patch/merge-patch.ts";
import { applyStrategicPatch } from "../../src/resources/patch/strategic.ts";
import type { PatchOutcome } from "../../src/resources/patch/values.ts";

function valueOf(outcome: PatchOutcome): unknown {
  assert.ok(outcome.ok, JSON.stringify(outcome));
  return outcome.value;
}

test("R8: JSON patch, RFC 6902 appendix A", () => {
  const cases: [unknown, unknown[], unknown][] = [
    [{ foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { foo: "bar", baz: "qux" }],
    [
      { foo: ["bar", "baz"] },
      [{ op: "add", path: "/foo/1", value: "qux" }],
      { foo: ["bar", "qux", "baz"] },
    ],
    [{ baz: "qux", foo: "bar" }, [{ op: "remove", path: "/baz" }], { foo: "bar" }],
    [{ foo: ["bar", "qux", "baz"] }, [{ op: "remove", path: "/foo/1" }], { foo: ["bar", "baz"] }],
    [
      { baz: "qux", foo: "bar" },
      [{ op: "replace", path: "/baz", value: "boo" }],
      { baz: "boo", foo: "bar" },
    ],
    [
      { foo: { bar: "baz", waldo: "fred" }, qux: { corge: "grault" } },
      [{ op: "move", from: "/foo/waldo", path: "/qux/thud" }],
      { foo: { bar: "baz" }, qux: { corge: "grault", thud: "fred" } },
    ],
    [
      { foo: ["all", "grass", "cows", "eat"] },
      [{ op: "move", from: "/foo/1", path: "/foo/3" }],
      { foo: ["all", "cows", "eat", "grass"] },
    ],
    [{ "/": 9, "~1": 10 }, [{ op: "test", path: "/~01", value: 10 }], { "/": 9, "~1": 10 }],
    [
      { foo: ["bar"] },
      [{ op: "add", path: "/foo/-", value: ["abc", "def"] }],
      { foo: ["bar", ["abc", "def"]] },
    ],
    [{ a: { b: 1 } }, [{ op: "copy", from: "/a", path: "/c" }], { a: { b: 1 }, c: { b: 1 } }],
    [{ a: 1 }, [{ op: "replace", path: "", value: [1] }], [1]],
  ];
  for (const [target, operations, expected] of cases) {
    const before = structuredClone(target);
    assert.deepEqual(valueOf(applyJsonPatch(target, operations)), expected);
    assert.deepEqual(target, before, "the target stays");
  }
});

test("R8: a JSON patch that does not fit is refused whole, with the place", () => {
  const refusedAt = (operations: unknown[], field: RegExp) => {
    const outcome = applyJsonPatch({ a: 1, list: [1] }, operations);
    assert.ok(!outcome.ok, JSON.stringify(operations));
    assert.match(`${outcome.field}: ${outcome.message}`, field);
  };
  refusedAt([{ op: "test", path: "/a", value: 2 }], /\[0\] \/a: the test failed/);
  refusedAt([{ op: "replace", path: "/b", value: 2 }], /there is no "b"/);
  refusedAt([{ op: "add", path: "/x/y", value: 2 }], /there is no "x"/);
  refusedAt([{ op: "add", path: "/list/2", value: 2 }], /"2" is not a place in a list of 1/);
  refusedAt([{ op: "add", path: "/list/01", value: 2 }], /"01"/);
  refusedAt([{ op: "move", from: "/a", path: "/a/b" }], /into itself/);
  refusedAt([{ op: "jump", path: "/a" }], /\[0\]\.op: "jump"/);
  refusedAt([{ op: "add", path: "a", value: 1 }], /\[0\]\.path/);
  refusedAt([{ op: "add", path: "/a~2", value: 1 }], /~0/);
  refusedAt([{ op: "add", path: "/a" }], /\[0\]\.value: is required/);
  refusedAt([3], /\[0\]/);
  const polluted = valueOf(
    applyJsonPatch({}, [{ op: "add", path: "/__proto__", value: { x: 1 } }]),
  );
  assert.equal((polluted as { x?: number }).x, undefined);
});

test("R8: merge patch, RFC 7386 appendix A", () => {
  const cases: [unknown, unknown, unknown][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, expected] of cases)
    assert.deepEqual(applyMergePatch(target, patch), expected);
});

const deploymentStructure = structureOf(deploymentKind.schema);
const podStructure = structureOf(podKind.schema);
const onPod = (target: unknown, patch: unknown) =>
  valueOf(applyStrategicPatch(podStructure, { spec: target }, { spec: patch })) as {
    spec: Record<string, unknown>;
  };

test("R8: keyed lists merge, others are replaced, null removes", () => {
  const before = {
    containers: [
      { name: "a", image: "1", command: ["x", "y"], env: [{ name: "K", value: "1" }] },
      { name: "b", image: "1" },
    ],
    nodeSelector: { a: "1", b: "2" },
    tolerations: [{ key: "a" }],
  };
  const { spec } = onPod(before, {
    containers: [
      { name: "a", command: ["z"], env: [{ name: "L", value: "2" }] },
      { name: "c", image: "3" },
    ],
    nodeSelector: { a: null, c: "3" },
    tolerations: [{ key: "b" }],
  });
  assert.deepEqual(spec, {
    containers: [
      {
        name: "a",
        image: "1",
        command: ["z"],
        env: [
          { name: "L", value: "2" },
          { name: "K", value: "1" },
        ],
      },
      { name: "c", image: "3" },
      { name: "b", image: "1" },
    ],
    nodeSelector: { b: "2", c: "3" },
    tolerations: [{ key: "b" }],
  });
});

test("R8: $patch deletes and replaces", () => {
  const before = { containers: [{ name: "a" }, { name: "b" }], nodeSelector: { a: "1" } };
  assert.deepEqual(onPod(before, { containers: [{ name: "a", $patch: "delete" }] }).spec, {
    containers: [{ name: "b" }],
    nodeSelector: { a: "1" },
  });
  assert.deepEqual(
    onPod(before, { containers: [{ name: "c" }, { $patch: "replace" }] }).spec["containers"],
    [{ name: "c" }],
  );
  assert.deepEqual(
    onPod(before, { nodeSelector: { $patch: "replace", z: "1" } }).spec["nodeSelector"],
    {
      z: "1",
    },
  );
  assert.deepEqual(onPod(before, { nodeSelector: { $patch: "delete" } }).spec["nodeSelector"], {});
  const odd = applyStrategicPatch(podStructure, {}, { spec: { $patch: "burn" } });
  assert.ok(!odd.ok && /spec\.\$patch/.test(odd.field));
});

test("R8: $retainKeys drops what excludes the new", () => {
  const before = { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } };
  const patched = valueOf(
    applyStrategicPatch(
      deploymentStructure,
      { spec: before },
      { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } },
    ),
  );
  assert.deepEqual(patched, { spec: { strategy: { type: "Recreate" } } });
  const volumes = onPod(
    { volumes: [{ name: "v", emptyDir: {} }] },
    { volumes: [{ name: "v", $retainKeys: ["name", "hostPath"], hostPath: { path: "/x" } }] },
  );
  assert.deepEqual(volumes.spec["volumes"], [{ name: "v", hostPath: { path: "/x" } }]);
  const contradictory = applyStrategicPatch(
    deploymentStructure,
    { spec: before },
    { spec: { strategy: { $retainKeys: ["type"], rollingUpdate: {} } } },
  );
  assert.ok(!contradictory.ok && contradictory.field === "spec.strategy.rollingUpdate");
});

test("R8: order and primitive lists", () => {
  const target = { metadata: { finalizers: ["a.b/x", "a.b/y", "a.b/z"] } };
  const patched = valueOf(
    applyStrategicPatch(podStructure, target, {
      metadata: {
        "$deleteFromPrimitiveList/finalizers": ["a.b/y"],
        "$setElementOrder/finalizers": ["a.b/z", "a.b/x", "a.b/w"],
        finalizers: ["a.b/w"],
      },
    }),
  );
  assert.deepEqual(patched, { metadata: { finalizers: ["a.b/z", "a.b/x", "a.b/w"] } });
  const ordered = onPod(
    { containers: [{ name: "a" }, { name: "b" }, { name: "server-side" }] },
    { "$setElementOrder/containers": [{ name: "b" }, { name: "a" }] },
  );
  assert.deepEqual(
    (ordered.spec["containers"] as { name: string }[]).map(({ name }) => name).slice(0, 2),
    ["b", "a"],
  );
  const ports = valueOf(
    applyStrategicPatch(
      structureOf(serviceKind.schema),
      { spec: { ports: [{ port: 80, targetPort: 1 }] } },
      { spec: { ports: [{ port: 80, targetPort: 2 }, { port: 81 }] } },
    ),
  );
  assert.deepEqual(ports, { spec: { ports: [{ port: 80, targetPort: 2 }, { port: 81 }] } });
});

test("R8: an item without its key is refused with its place", () => {
  const outcome = applyStrategicPatch(podStructure, {}, { spec: { containers: [{ image: "x" }] } });
  assert.ok(!outcome.ok);
  assert.equal(outcome.field, "spec.containers[0].name");
});

const plain = { noNullPrototype: true } as const;
const name = fc.constantFrom<string>("a", "b", "c", "d");
const item = fc.record({ name, image: fc.constantFrom("1", "2") }, plain);
const items = fc.uniqueArray(item, { selector: (one) => one.name, maxLength: 4 });

test("R8: a strategic merge of keyed lists is a merge of maps by key", () => {
  fc.assert(
    fc.property(
      items,
      items,
      fc.subarray<string>(["a", "b", "c", "d"]),
      (target, changes, deleted) => {
        const patch = [
          ...changes.filter((one) => !deleted.includes(one.name)),
          ...deleted.map((gone) => ({ name: gone, $patch: "delete" })),
        ];
        const { spec } = onPod({ containers: target }, { containers: patch });
        const oracle = new Map(target.map((one) => [one.name, one]));
        for (const one of changes) oracle.set(one.name, one);
        for (const gone of deleted) oracle.delete(gone);
        const result = spec["containers"] as typeof target;
        assert.deepEqual(new Map(result.map((one) => [one.name, one])), oracle);
        assert.equal(result.length, oracle.size);
      },
    ),
  );
});

test("R8: with an order, items stand in it; without, neighbours stay", () => {
  const names = (value: unknown) => (value as { name: string }[]).map((one) => one.name);
  fc.assert(
    fc.property(items, items, (target, changes) => {
      const order = changes.map((one) => ({ name: one.name }));
      const { spec } = onPod(
        { containers: target },
        { containers: changes, "$setElementOrder/containers": order },
      );
      const result = names(spec["containers"]);
      const wanted = changes.map((one) => one.name);
      assert.deepEqual(
        result.filter((one) => wanted.includes(one)),
        wanted,
      );
      const others = target.map((one) => one.name).filter((one) => !wanted.includes(one));
      assert.deepEqual(
        result.filter((one) => !wanted.includes(one)),
        others,
      );
    }),
  );
});

test("R8: patches never change what they are given", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (target, patch) => {
      const before = JSON.stringify([target, patch]);
      applyMergePatch(target, patch);
      applyStrategicPatch(podStructure, target, patch);
      if (Array.isArray(patch)) applyJsonPatch(target, patch);
      assert.equal(JSON.stringify([target, patch]), before);
    }),
  );
});

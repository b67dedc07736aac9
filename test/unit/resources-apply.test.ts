/** R9: server-side apply, by Kubernetes' own rules and against a naive model of ownership. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  configMapKind,
  deploymentKind,
  structureOf,
  type KindDefinition,
  type KubeObject,
  type ManagedFieldsEntry,
} from "../../src/api/index.ts";
import { applyConfiguration } from "../../src/resources/apply/apply.ts";
import {
  decodeFieldSet,
  difference,
  encodeFieldSet,
  intersection,
  paths,
  pathText,
  sameFields,
  union,
  type FieldSet,
} from "../../src/resources/apply/field-set.ts";
import { managedAfterUpdate } from "../../src/resources/apply/managers.ts";
import { fieldsOf } from "../../src/resources/apply/typed.ts";
import { configMap, deployment } from "../support/resources.ts";

const time = "2026-06-01T12:00:00Z";

function apply(
  kind: KindDefinition,
  live: KubeObject | undefined,
  config: unknown,
  manager: string,
  force = false,
) {
  return applyConfiguration(kind, live, config as KubeObject, {
    manager,
    force,
    subresource: undefined,
    time,
  });
}

function applied(
  ...given: Parameters<typeof apply>
): KubeObject & { data?: unknown; spec?: unknown } {
  const outcome = apply(...given);
  assert.equal(outcome.state, "applied", JSON.stringify(outcome));
  return outcome.state === "applied" ? outcome.object : (undefined as never);
}

const managersOf = (object: KubeObject) =>
  (object.metadata.managedFields ?? []) as ManagedFieldsEntry[];

const web = (spec: object) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "default" },
  spec,
});

test("R9: managed fields are written as Kubernetes writes them", () => {
  const config = web({
    replicas: 2,
    template: {
      spec: {
        containers: [{ name: "main", image: "x", ports: [{ containerPort: 80 }], args: ["a"] }],
      },
    },
  });
  assert.deepEqual(managersOf(applied(deploymentKind, undefined, config, "me")), [
    {
      manager: "me",
      operation: "Apply",
      apiVersion: "apps/v1",
      time,
      fieldsType: "FieldsV1",
      fieldsV1: {
        "f:spec": {
          "f:replicas": {},
          "f:template": {
            "f:spec": {
              "f:containers": {
                'k:{"name":"main"}': {
                  ".": {},
                  "f:name": {},
                  "f:image": {},
                  "f:args": {},
                  "f:ports": {
                    'k:{"containerPort":80,"protocol":"TCP"}': { ".": {}, "f:containerPort": {} },
                  },
                },
              },
            },
          },
        },
      },
    },
  ]);
});

test("R9: two managers share an object, a conflict names the owner and the field", () => {
  const one = applied(deploymentKind, undefined, web({ replicas: 2, paused: true }), "one");
  const two = apply(deploymentKind, one, web({ replicas: 3 }), "two");
  assert.equal(two.state, "conflict");
  assert.deepEqual(two.state === "conflict" && two.causes, [
    { field: ".spec.replicas", message: 'conflict with "one" using apps/v1' },
  ]);
  const forced = applied(deploymentKind, one, web({ replicas: 3 }), "two", true);
  assert.deepEqual(forced.spec, { replicas: 3, paused: true });
  assert.deepEqual(
    managersOf(forced).map(({ manager, fieldsV1 }) => [manager, fieldsV1]),
    [
      ["one", { "f:spec": { "f:paused": {} } }],
      ["two", { "f:spec": { "f:replicas": {} } }],
    ],
  );
  // The same value is no conflict: both own it, and it stays until neither wants it.
  const both = applied(deploymentKind, one, web({ replicas: 2 }), "two");
  const oneLess = applied(deploymentKind, both, web({ paused: true }), "one");
  assert.deepEqual(oneLess.spec, { replicas: 2, paused: true });
  const gone = applied(deploymentKind, oneLess, web({}), "two");
  assert.deepEqual(gone.spec, { paused: true });
});

test("R9: items of keyed lists belong to whom they name, and keep their keys while anybody wants them", () => {
  const containers = (...list: object[]) => web({ template: { spec: { containers: list } } });
  const env = (key: string, value: string) => [{ name: key, value }];
  const one = applied(
    deploymentKind,
    undefined,
    containers({ name: "a", image: "1", env: env("K", "1") }),
    "one",
  );
  const two = applied(
    deploymentKind,
    one,
    containers({ name: "a", env: env("L", "2") }, { name: "side", image: "s" }),
    "two",
  );
  assert.deepEqual(two.spec, {
    template: {
      spec: {
        containers: [
          {
            name: "a",
            image: "1",
            env: [
              { name: "K", value: "1" },
              { name: "L", value: "2" },
            ],
          },
          { name: "side", image: "s" },
        ],
      },
    },
  });
  const oneLess = applied(deploymentKind, two, web({}), "one");
  assert.deepEqual(oneLess.spec, {
    template: {
      spec: {
        containers: [
          { name: "a", env: [{ name: "L", value: "2" }] },
          { name: "side", image: "s" },
        ],
      },
    },
  });
  const none = applied(deploymentKind, oneLess, web({}), "two");
  assert.deepEqual(none.spec, {}, "the empty spec that they name stays");
});

test("R9: what stood there before the first apply belongs to before-first-apply", () => {
  const live = { ...deployment("web", 2), status: { replicas: 2 } } as KubeObject;
  const conflict = apply(deploymentKind, live, web({ replicas: 5 }), "me");
  assert.match(
    conflict.state === "conflict" ? conflict.message : "",
    /before-first-apply.*\.spec\.replicas/,
  );
  const same = applied(deploymentKind, live, web({ replicas: 2 }), "me");
  assert.deepEqual(
    managersOf(same).map(({ manager, subresource }) => [manager, subresource]),
    [
      ["before-first-apply", undefined],
      ["before-first-apply", "status"],
      ["me", undefined],
    ],
  );
});

test("R9: an update takes what it changes, and only objects once applied are tracked", () => {
  const before = applied(deploymentKind, undefined, web({ replicas: 2, paused: true }), "one");
  const after = structuredClone(before);
  Object.assign(after, { spec: { replicas: 7, paused: true } });
  const managedFields = managedAfterUpdate(deploymentKind, before, after, {
    manager: "scaler",
    subresource: undefined,
    time,
  });
  assert.deepEqual(
    managedFields?.map(({ manager, operation, fieldsV1 }) => [manager, operation, fieldsV1]),
    [
      ["one", "Apply", { "f:spec": { "f:paused": {} } }],
      ["scaler", "Update", { "f:spec": { "f:replicas": {} } }],
    ],
  );
  const scaled = { ...after, metadata: { ...after.metadata, managedFields } };
  assert.equal(
    apply(deploymentKind, scaled, web({ replicas: 2, paused: true }), "one").state,
    "conflict",
  );
  assert.equal(
    managedAfterUpdate(deploymentKind, deployment("web"), deployment("web", 5), {
      manager: "x",
      subresource: undefined,
      time,
    }),
    undefined,
  );
});

test("R9: bad configurations are refused with their place", () => {
  const twice = web({ template: { spec: { containers: [{ name: "a" }, { name: "a" }] } } });
  const outcome = apply(deploymentKind, undefined, twice, "me");
  assert.equal(outcome.state === "invalid" && outcome.field, "spec.template.spec.containers[1]");
  const managed = { ...configMap("a"), metadata: { name: "a", managedFields: [{ manager: "x" }] } };
  assert.equal(apply(configMapKind, undefined, managed, "me").state === "invalid", true);
});

/* Sets of fields */

const leaf = fc.constant<FieldSet>({ own: true, children: new Map() });
const element = fc.constantFrom("f:a", "f:b", 'k:{"name":"x"}', 'v:"y"');
const { tree: fieldSets } = fc.letrec<{ tree: FieldSet; node: FieldSet }>((tie) => ({
  tree: fc.array(fc.tuple(element, tie("node")), { maxLength: 3 }).map((entries) => ({
    own: false,
    children: new Map(entries),
  })),
  node: fc.oneof(
    { depthSize: "small" },
    leaf,
    fc.array(fc.tuple(element, tie("node")), { minLength: 1, maxLength: 3 }).map((entries) => ({
      own: true,
      children: new Map(entries),
    })),
  ),
}));
const asSet = (set: FieldSet) => new Set(paths(set).map((path) => JSON.stringify(path)));

test("R9: operations on field sets are those on sets of paths, and they survive their stored form", () => {
  fc.assert(
    fc.property(fieldSets, fieldSets, (a, b) => {
      const [left, right] = [asSet(a), asSet(b)];
      assert.deepEqual(asSet(union(a, b)), left.union(right));
      assert.deepEqual(asSet(intersection(a, b)), left.intersection(right));
      assert.deepEqual(asSet(difference(a, b)), left.difference(right));
      assert.ok(sameFields(decodeFieldSet(JSON.parse(JSON.stringify(encodeFieldSet(a)))), a));
    }),
  );
});

test("R9: stored sets that cannot be read own nothing", () => {
  for (const broken of [null, 3, { "k:{": {} }, { "k:3": { "f:a": {} } }, { x: {} }])
    assert.deepEqual(paths(decodeFieldSet(broken)), []);
  const fields = fieldsOf(structureOf(deploymentKind.schema), web({ paused: true }));
  assert.ok(paths(fields).map(pathText).includes(".spec.paused"));
});

/* A model: each key of data has a value and owners */

type Step = { manager: string; data: Record<string, string>; force: boolean };
const step: fc.Arbitrary<Step> = fc.record(
  {
    manager: fc.constantFrom("one", "two", "three"),
    data: fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("1", "2"), {
      noNullPrototype: true,
    }),
    force: fc.boolean(),
  },
  { noNullPrototype: true },
);

test("R9: any sequence of applies ends as a naive model of ownership says", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      let live: (KubeObject & { data?: unknown }) | undefined;
      const model = new Map<string, { value: string; owners: Set<string> }>();
      for (const { manager, data, force } of steps) {
        const conflicts = Object.entries(data).some(([key, value]) => {
          const entry = model.get(key);
          return (
            entry && entry.value !== value && [...entry.owners].some((owner) => owner !== manager)
          );
        });
        const config = { ...configMap("a"), data };
        const outcome = apply(configMapKind, live, config, manager, force);
        assert.equal(outcome.state, conflicts && !force ? "conflict" : "applied");
        if (outcome.state !== "applied") continue;
        live = outcome.object;
        for (const [key, value] of Object.entries(data)) {
          const entry = model.get(key);
          if (entry?.value === value) entry.owners.add(manager);
          else model.set(key, { value, owners: new Set([manager]) });
        }
        for (const [key, entry] of model) {
          if (key in data) continue;
          if (entry.owners.delete(manager) && entry.owners.size === 0) model.delete(key);
        }
        // Applying the same again is never a conflict and changes nothing.
        const again = apply(configMapKind, live, config, manager);
        assert.deepEqual(again, { state: "applied", object: live });
        assert.deepEqual(
          live.data ?? {},
          Object.fromEntries([...model].map(([key, { value }]) => [key, value])),
        );
      }
    }),
    { numRuns: 1000 },
  );
});

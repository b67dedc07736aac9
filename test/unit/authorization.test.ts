import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { KubeObject } from "../../src/api/index.ts";
import {
  authorize,
  authorizePath,
  factsNeeded,
  involvedPodKey,
  type AccessRequest,
  type PatchBody,
  type StoredFacts,
  type Subject,
} from "../../src/authorization/index.ts";

const subject = (...path: string[]): Subject => ({
  id: `spiffe://cell-a.skerry/${path.join("/")}`,
  path,
});
const admin = subject("user", "admin");
const n1 = subject("node", "n1");

type Fields = Record<string, unknown>;
const object = (kind: string, name: string, fields: Fields = {}, metadata: Fields = {}) =>
  ({
    apiVersion: "v1",
    kind,
    metadata: { name, ...metadata },
    ...fields,
  }) as KubeObject;
const pod = (name: string, nodeName: string, metadata: Fields = {}) =>
  object(
    "Pod",
    name,
    { spec: { nodeName } },
    { namespace: "default", uid: `uid-${name}`, ...metadata },
  );

const isAllowed = (who: Subject, request: Partial<AccessRequest>, facts: StoredFacts = {}) =>
  authorize(who, { verb: "get", group: "", resource: "pods", ...request }, facts).state === "allow";

test("Z1: the administrator may all, other users, applications and pods nothing", () => {
  const write = { verb: "delete", resource: "nodes", name: "n1" };
  assert.ok(isAllowed(admin, write));
  for (const who of [
    subject("user", "guest"),
    subject("user", "admin", "x"),
    subject("app", "admin"),
    subject("hub", "main"),
    subject("ns", "default", "sa", "admin"),
    subject(),
  ]) {
    assert.ok(!isAllowed(who, write), who.id);
    assert.ok(!isAllowed(who, { verb: "get" }), who.id);
  }
});

test("Z1: discovery is open to every known identity, other paths are not", () => {
  const guest = subject("app", "sensor");
  for (const path of ["/api", "/apis/apps/v1", "/version", "/openapi/v3"]) {
    assert.equal(authorizePath(guest, path).state, "allow", path);
  }
  for (const path of ["/metrics", "/skerry/status", "/apix", "/"]) {
    assert.equal(authorizePath(guest, path).state, "deny", path);
    assert.equal(authorizePath(admin, path).state, "allow", path);
  }
});

test("Z2: a node reads what it mirrors, not logs and not kinds that nobody named", () => {
  for (const [group, resource] of [
    ["", "pods"],
    ["", "configmaps"],
    ["", "endpoints"],
    ["networking.k8s.io", "ingresses"],
    ["skerry.dev", "streams"],
    ["skerry.dev", "collections"],
  ] as const) {
    for (const verb of ["get", "list", "watch"]) {
      assert.ok(isAllowed(n1, { verb, group, resource }), `${verb} ${resource}`);
    }
  }
  assert.ok(!isAllowed(n1, { resource: "secrets" }));
  assert.ok(!isAllowed(n1, { subresource: "log", name: "web" }));
  assert.ok(!isAllowed(n1, { verb: "impersonate", resource: "users" }));
});

test("Z3: a node writes the status of pods bound to it, whatever the request says", () => {
  const status = { verb: "patch", subresource: "status", namespace: "default", name: "web" };
  const patch: PatchBody = { type: "merge", body: { status: { phase: "Running" } } };
  assert.ok(isAllowed(n1, { ...status, patch }, { stored: pod("web", "n1") }));
  assert.ok(!isAllowed(n1, { ...status, patch }, { stored: pod("web", "n2") }));
  assert.ok(!isAllowed(n1, { ...status, patch }), "an unknown pod");
  const claim = pod("web", "n1");
  const update = { ...status, verb: "update", object: claim };
  assert.ok(!isAllowed(n1, update, { stored: pod("web", "n2") }), "the body claims the pod");
  assert.ok(isAllowed(n1, update, { stored: pod("web", "n1") }));
  const relabelled = pod("web", "n1", { labels: { app: "bank" } });
  assert.ok(!isAllowed(n1, { ...update, object: relabelled }, { stored: pod("web", "n1") }));
  assert.ok(
    !isAllowed(n1, { ...status, subresource: undefined, patch }, { stored: pod("web", "n1") }),
  );
});

test("Z3: a node confirms deletions with grace 0, it starts none", () => {
  const remove = { verb: "delete", namespace: "default", name: "web", gracePeriodSeconds: 0 };
  const deleted = { deletionTimestamp: "2026-01-01T00:00:00Z" };
  assert.ok(isAllowed(n1, remove, { stored: pod("web", "n1", deleted) }));
  assert.ok(!isAllowed(n1, remove, { stored: pod("web", "n1") }), "nobody deleted it");
  assert.ok(!isAllowed(n1, remove, { stored: pod("web", "n2", deleted) }), "another node's");
  const slow = { ...remove, gracePeriodSeconds: 30 };
  assert.ok(!isAllowed(n1, slow, { stored: pod("web", "n1", deleted) }), "not a confirmation");
  assert.ok(!isAllowed(n1, { ...remove, verb: "deletecollection", name: undefined }));
});

test("Z4: a node gives itself no role, no taint and no label of the cell's", () => {
  const stored = object("Node", "n1", { spec: {} }, { labels: { "kubernetes.io/os": "linux" } });
  const write = (labels: unknown, type: "merge" | "strategic" | "apply" = "merge") =>
    isAllowed(
      n1,
      {
        verb: "patch",
        resource: "nodes",
        name: "n1",
        patch: { type, body: { metadata: { labels } } },
      },
      { stored },
    );
  assert.ok(write({ "kubernetes.io/arch": "x64", rack: "7", "node.skerry.dev/disk": "sd" }));
  for (const label of [
    "node-role.kubernetes.io/control-plane",
    "node-restriction.kubernetes.io/zone",
    "skerry.dev/server",
    "x.k8s.io/y",
  ]) {
    assert.ok(!write({ [label]: "" }), label);
    // Of roles a node may lay one down: it is no server any more.
    const mayRemove = label === "node-role.kubernetes.io/control-plane";
    assert.equal(write({ [label]: null }), mayRemove, `removing ${label}`);
    const object_ = object("Node", "n1", { spec: {} }, { labels: { [label]: "" } });
    assert.ok(!isAllowed(n1, { verb: "create", resource: "nodes", object: object_ }), label);
  }
  assert.ok(!write(null), "removing all labels");
  assert.ok(!write({ $patch: "replace", rack: "7" }, "strategic"), "replacing all labels");
  assert.ok(!write({ rack: "7" }, "apply"), "apply removes what it does not name");
  const json: PatchBody = {
    type: "json",
    body: [{ op: "move", from: "/metadata/annotations/a", path: "/metadata/labels/b" }],
  };
  assert.ok(
    !isAllowed(n1, { verb: "patch", resource: "nodes", name: "n1", patch: json }, { stored }),
  );
  const untainted = { verb: "patch", resource: "nodes", name: "n1" };
  const spec: PatchBody = { type: "merge", body: { spec: { taints: null } } };
  assert.ok(!isAllowed(n1, { ...untainted, patch: spec }, { stored }));
});

test("Z5: a node reports events about itself and its pods only", () => {
  const event = (involvedObject: Fields) =>
    object("Event", "e1", { involvedObject }, { namespace: "default" });
  const create = (involved: Fields, facts: StoredFacts = {}) =>
    isAllowed(n1, { verb: "create", resource: "events", object: event(involved) }, facts);
  const about = { kind: "Pod", name: "web", namespace: "default" };
  assert.ok(create({ kind: "Node", name: "n1" }));
  assert.ok(!create({ kind: "Node", name: "n2" }));
  assert.ok(create(about, { involvedPod: pod("web", "n1") }));
  assert.ok(!create(about, { involvedPod: pod("web", "n2") }));
  assert.ok(!create(about));
  assert.ok(!create({ ...about, name: "db" }, { involvedPod: pod("web", "n1") }));
  const damage = {
    involvedObject: { kind: "Stream", name: "telemetry" },
    reason: "SegmentDamaged",
    reportingInstance: "n1",
    message: "n1: a segment is damaged",
  };
  const damaged = (fields: Fields) =>
    isAllowed(n1, {
      verb: "create",
      resource: "events",
      object: object("Event", "e1", { ...damage, ...fields }, { namespace: "default" }),
    });
  assert.ok(damaged({}), "what it found in its own copy of a stream");
  assert.ok(!damaged({ reportingInstance: "n2" }));
  assert.ok(!damaged({ message: "n2: a segment is damaged" }));
  assert.ok(!damaged({ reason: "Deleted" }));
  assert.ok(!damaged({ involvedObject: { kind: "Deployment", name: "web" } }));
  assert.deepEqual(involvedPodKey(event(about)), { name: "web", namespace: "default" });
  assert.equal(involvedPodKey(event({ kind: "Node", name: "n1" })), undefined);
});

/* A node against a naive store: whatever it is allowed changes nothing that is not its own. */

type Store = Map<string, KubeObject>;
const keyOf = (resource: string, namespace: string | undefined, name: string) =>
  `${resource}/${namespace ?? ""}/${name}`;

function initialStore(): Store {
  const deleted = { deletionTimestamp: "2026-01-01T00:00:00Z" };
  const store: Store = new Map();
  for (const name of ["n1", "n2"]) {
    const labels = { "kubernetes.io/os": "linux", "node-role.kubernetes.io/control-plane": "" };
    store.set(keyOf("nodes", undefined, name), object("Node", name, { spec: {} }, { labels }));
    const lease = object("Lease", name, { spec: {} }, { namespace: "kube-node-lease" });
    store.set(keyOf("leases", "kube-node-lease", name), lease);
    store.set(keyOf("pods", "default", `on-${name}`), pod(`on-${name}`, name));
    store.set(keyOf("pods", "default", `gone-${name}`), pod(`gone-${name}`, name, deleted));
    const involvedObject = { kind: "Node", name };
    const event = object("Event", `about-${name}`, { involvedObject }, { namespace: "default" });
    store.set(keyOf("events", "default", `about-${name}`), event);
  }
  return store;
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === "object" && target !== null ? { ...(target as Fields) } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete base[key];
    else base[key] = mergePatch(base[key], value);
  }
  return base;
}

/** What a server would store; status writes touch only what a status write may. */
function applyRequest(store: Store, request: AccessRequest): Store {
  const next = new Map(store);
  const name = request.name ?? request.object?.metadata.name ?? "";
  const key = keyOf(request.resource, request.namespace, name);
  const stored = next.get(key);
  if (request.verb === "delete") next.delete(key);
  if (request.verb === "create" && request.object && !stored) next.set(key, request.object);
  if (request.verb === "update" && request.object && stored) {
    const { status } = request.object as unknown as Fields;
    next.set(key, (request.subresource ? { ...stored, status } : request.object) as KubeObject);
  }
  if (request.verb === "patch" && request.patch && stored) {
    next.set(key, mergePatch(stored, request.patch.body) as KubeObject);
  }
  return next;
}

const labelsArbitrary = fc.dictionary(
  fc.constantFrom("rack", "kubernetes.io/os", "node-role.kubernetes.io/control-plane", "$patch"),
  fc.constantFrom("", "x", "replace"),
);
const bodyArbitrary = fc.record(
  {
    metadata: fc.record(
      { labels: labelsArbitrary, name: fc.constantFrom("n1", "n2") },
      { requiredKeys: [] },
    ),
    spec: fc.record(
      { nodeName: fc.constantFrom("n1", "n2"), taints: fc.constant([]) },
      { requiredKeys: [] },
    ),
    status: fc.record({ phase: fc.constantFrom("Running", "Failed") }),
    involvedObject: fc.record({
      kind: fc.constantFrom("Node", "Pod"),
      name: fc.constantFrom("n1", "n2", "on-n1", "on-n2"),
      namespace: fc.constant("default"),
    }),
    message: fc.constant("m"),
  },
  { requiredKeys: [] },
);
const names = ["n1", "n2", "on-n1", "on-n2", "gone-n1", "gone-n2", "about-n1", "about-n2", "new"];
const requestArbitrary = fc.record({
  verb: fc.constantFrom("create", "update", "patch", "delete", "deletecollection", "bind"),
  resource: fc.constantFrom("nodes", "pods", "leases", "events", "deployments"),
  subresource: fc.constantFrom(undefined, undefined, "status", "scale", "eviction"),
  namespace: fc.constantFrom("default", "kube-node-lease"),
  name: fc.constantFrom(...names),
  body: bodyArbitrary,
  patchType: fc.constantFrom("merge" as const, "strategic" as const, "apply" as const),
  gracePeriodSeconds: fc.constantFrom(undefined, 0, 30),
});

const groupOf: Fields = { leases: "coordination.k8s.io", deployments: "apps" };

function requestOf(drawn: typeof requestArbitrary extends fc.Arbitrary<infer T> ? T : never) {
  const { body, patchType, ...rest } = drawn;
  const namespace = rest.resource === "nodes" ? undefined : rest.namespace;
  const whole = { apiVersion: "v1", kind: "Any", ...body } as unknown as KubeObject;
  whole.metadata = { ...body.metadata, name: rest.name, namespace };
  const request: AccessRequest = {
    ...rest,
    namespace,
    group: String(groupOf[rest.resource] ?? ""),
    name: rest.verb === "create" ? undefined : rest.name,
    object: rest.verb === "create" || rest.verb === "update" ? whole : undefined,
    patch: rest.verb === "patch" ? { type: patchType, body } : undefined,
  };
  return request;
}

const guarded = (labels: Fields = {}) =>
  Object.entries(labels).filter(([label]) => label.startsWith("node-role."));

function isOwnChange(key: string, before?: KubeObject, after?: KubeObject): boolean {
  const [resource, namespace, name] = key.split("/");
  const specOf = (one?: KubeObject) => (one as unknown as Fields | undefined)?.["spec"];
  if (resource === "nodes") {
    assert.deepEqual(guarded(after?.metadata.labels), guarded(before?.metadata.labels));
    assert.deepEqual(specOf(after), specOf(before));
    return name === "n1";
  }
  if (resource === "leases") return name === "n1" && namespace === "kube-node-lease";
  if (resource === "pods") {
    if ((specOf(before) as Fields | undefined)?.["nodeName"] !== "n1") return false;
    if (!after) return before?.metadata.deletionTimestamp !== undefined;
    assert.deepEqual(specOf(after), specOf(before));
    assert.deepEqual(after.metadata.labels, before?.metadata.labels);
    return true;
  }
  if (resource !== "events" || !after) return false;
  const involved = (after as unknown as Fields)["involvedObject"] as Fields;
  return involved["name"] === "n1" || (involved["kind"] === "Pod" && involved["name"] === "on-n1");
}

test("Z6: for random requests a node never gets a write outside its own", () => {
  let allowed = 0;
  fc.assert(
    fc.property(requestArbitrary, (drawn) => {
      const request = requestOf(drawn);
      const store = initialStore();
      const needed = factsNeeded(n1, request);
      const name = request.name ?? "";
      const stored = needed.stored
        ? store.get(keyOf(request.resource, request.namespace, name))
        : undefined;
      const involved = needed.involvesPod ? involvedPodKey(request.object ?? stored) : undefined;
      const involvedPod = involved && store.get(keyOf("pods", involved.namespace, involved.name));
      if (authorize(n1, request, { stored, involvedPod }).state === "deny") return;
      allowed++;
      const after = applyRequest(store, request);
      for (const key of new Set([...store.keys(), ...after.keys()])) {
        if (store.get(key) === after.get(key)) continue;
        assert.ok(isOwnChange(key, store.get(key), after.get(key)), `${key} changed`);
      }
    }),
    { numRuns: 20_000, seed: 7 },
  );
  assert.ok(allowed > 50, `only ${allowed} requests were allowed: the property proves little`);
});

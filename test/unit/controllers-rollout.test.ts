import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Deployment, Pod, ReplicaSet } from "../../src/api/index.ts";
import { bounds, planDeployment, type OwnedSet } from "../../src/controllers/deployment/plan.ts";
import { planStatus } from "../../src/controllers/deployment/status.ts";
import { planReplicaSet } from "../../src/controllers/replica-set/plan.ts";
import { deploymentOf, isRolledOut } from "../support/controllers-cell.ts";

/** A world of replica sets and pods that obey late, or in parts, as `choices` say. */
class World {
  deployment: Deployment;
  sets: ReplicaSet[] = [];
  podsBySet = new Map<string, Pod[]>();
  created = 0;

  constructor(deployment: Deployment) {
    this.deployment = deployment;
  }

  pods(set: ReplicaSet): Pod[] {
    return this.podsBySet.get(set.metadata.uid ?? "") ?? [];
  }

  view() {
    return { deployment: this.deployment, sets: this.sets.map((set) => this.owned(set)) };
  }

  owned(replicaSet: ReplicaSet): OwnedSet {
    const pods = this.pods(replicaSet);
    const ready = pods.filter(isReady).length;
    return { replicaSet, active: pods.length, ready, available: ready, existing: pods.length };
  }

  /** What counts or is asked for, and what serves and is not asked to go. */
  measure() {
    const owned = this.sets.map((set) => this.owned(set));
    const spec = (set: OwnedSet) => set.replicaSet.spec.replicas ?? 0;
    return {
      total: owned.reduce((sum, set) => sum + Math.max(spec(set), set.active), 0),
      serving: owned.reduce((sum, set) => sum + Math.min(spec(set), set.available), 0),
    };
  }

  planAndApply(): number {
    const { steps } = planDeployment(this.view());
    for (const step of steps) {
      if (step.do === "create") {
        const uid = `set${++this.created}`;
        const creationTimestamp = new Date(this.created * 1000).toISOString();
        const metadata = { ...step.replicaSet.metadata, uid, creationTimestamp };
        this.sets.push({ ...step.replicaSet, metadata });
        continue;
      }
      const index = this.sets.findIndex(
        ({ metadata }) => metadata.uid === step.replicaSet.metadata.uid,
      );
      const set = structuredClone(this.sets[index]!);
      if (step.do === "scale") set.spec.replicas = step.to;
      if (step.do === "revise")
        set.metadata.annotations = { "deployment.kubernetes.io/revision": String(step.revision) };
      if (step.do === "delete") this.sets.splice(index, 1);
      else this.sets[index] = set;
    }
    return steps.length;
  }

  /** The replica set does part of its work. */
  obey(set: ReplicaSet, parts: number) {
    const pods = this.pods(set);
    const plan = planReplicaSet({ replicaSet: set, owned: pods, orphans: [], nowMs: 0 });
    const removed = new Set(plan.remove.slice(0, parts));
    const next = pods.filter((pod) => !removed.has(pod));
    for (let index = 0; index < Math.min(parts, plan.create); index++) next.push(this.newPod(set));
    this.podsBySet.set(set.metadata.uid ?? "", next);
  }

  newPod(set: ReplicaSet): Pod {
    const name = `pod${++this.created}`;
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        uid: name,
        labels: set.spec.template.metadata?.labels,
        creationTimestamp: new Date(this.created * 1000).toISOString(),
        ownerReferences: [
          { apiVersion: "apps/v1", kind: "ReplicaSet", name: "x", uid: "x", controller: true },
        ],
      },
      spec: { containers: [{ name: "main" }], nodeName: "n1" },
      status: { phase: "Running", conditions: [] },
    };
  }

  setReady(which: number, ready: boolean) {
    const all = [...this.podsBySet.values()].flat();
    const pod = all[which % Math.max(1, all.length)];
    if (pod?.status) pod.status.conditions = [{ type: "Ready", status: ready ? "True" : "False" }];
  }
}

const isReady = (pod: Pod) =>
  pod.status?.conditions?.some(({ status }) => status === "True") ?? false;

const value = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom("0%", "25%", "50%", "100%"));
const action = fc.oneof(
  fc.record({
    do: fc.constant("obey" as const),
    which: fc.nat(),
    parts: fc.integer({ min: 1, max: 5 }),
  }),
  fc.record({ do: fc.constant("ready" as const), which: fc.nat() }),
  fc.record({ do: fc.constant("ready" as const), which: fc.nat() }),
  fc.record({ do: fc.constant("fail" as const), which: fc.nat() }),
  fc.record({ do: fc.constant("plan" as const) }),
  fc.record({ do: fc.constant("plan" as const) }),
  fc.record({ do: fc.constant("template" as const), to: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant("replicas" as const), to: fc.integer({ min: 0, max: 8 }) }),
);

test("C2: over random lags, failures and changes a rollout keeps its bounds, and ends when pods get ready", () => {
  fc.assert(
    fc.property(
      value,
      value,
      fc.integer({ min: 1, max: 8 }),
      fc.array(action, { minLength: 30, maxLength: 80 }),
      (maxSurge, maxUnavailable, replicas, actions) => {
        const strategy = {
          type: "RollingUpdate" as const,
          rollingUpdate: { maxSurge, maxUnavailable },
        };
        const world = new World(deploymentOf("web", replicas, { strategy }));
        for (const step of actions) {
          if (step.do === "obey") {
            const set = world.sets[step.which % Math.max(1, world.sets.length)];
            if (set) world.obey(set, step.parts);
          } else if (step.do === "ready") world.setReady(step.which, true);
          else if (step.do === "fail") world.setReady(step.which, false);
          else if (step.do === "template") {
            world.deployment = structuredClone(world.deployment);
            world.deployment.spec.template.spec.containers[0]!.image = `v${step.to}`;
          } else if (step.do === "replicas") {
            world.deployment = structuredClone(world.deployment);
            world.deployment.spec.replicas = step.to;
          } else {
            const { surge, unavailable } = bounds(world.deployment);
            const wanted = world.deployment.spec.replicas ?? 1;
            const before = world.measure();
            world.planAndApply();
            const after = world.measure();
            assert.ok(
              after.total <= Math.max(before.total, wanted + surge),
              `total ${before.total} -> ${after.total}`,
            );
            assert.ok(
              after.serving >= Math.min(before.serving, wanted - unavailable),
              `serving ${before.serving} -> ${after.serving}`,
            );
          }
        }
        for (let round = 0; round < 60; round++) {
          world.planAndApply();
          for (const set of world.sets) world.obey(set, 10);
          const pods = [...world.podsBySet.values()].flat().length;
          for (let which = 0; which < pods; which++) world.setReady(which, true);
        }
        const { status } = planStatus(world.view(), 0);
        assert.ok(isRolledOut({ ...world.deployment, status }), JSON.stringify(status));
        assert.equal(world.planAndApply(), 0, "a finished rollout plans nothing");
      },
    ),
    { numRuns: 300 },
  );
});

test("C2: recreate starts nothing while anything old may still run, on a silent node too", () => {
  const world = new World(deploymentOf("web", 2, { strategy: { type: "Recreate" } }));
  world.planAndApply();
  const [old] = world.sets;
  assert.equal(old?.spec.template.metadata?.annotations?.["skerry.dev/on-partition"], "stop");
  world.deployment = structuredClone(world.deployment);
  world.deployment.spec.template.spec.containers[0]!.image = "v2";
  const view = (existing: number) => ({
    deployment: world.deployment,
    sets: world.sets.map((replicaSet) => ({
      replicaSet,
      active: 0,
      ready: 0,
      available: 0,
      existing,
    })),
  });
  const first = planDeployment(view(2)).steps;
  assert.deepEqual(
    first.map((step) => [
      step.do,
      step.do === "create" ? step.replicaSet.spec.replicas : undefined,
    ]),
    [
      ["create", 0],
      ["scale", undefined],
    ],
  );
  world.sets = world.sets.map((set) => ({ ...set, spec: { ...set.spec, replicas: 0 } }));
  const waiting = planDeployment(view(1)).steps.find((step) => step.do === "create");
  assert.equal(waiting?.do === "create" && waiting.replicaSet.spec.replicas, 0);
  const free = planDeployment(view(0)).steps.find((step) => step.do === "create");
  assert.equal(free?.do === "create" && free.replicaSet.spec.replicas, 2);
});

test("C2: history beyond its limit is forgotten, oldest first; a paused deployment only scales", () => {
  const world = new World(deploymentOf("web", 1, { revisionHistoryLimit: 1 }));
  const settle = () => {
    for (let round = 0; round < 10; round++) {
      world.planAndApply();
      for (const set of world.sets) world.obey(set, 10);
      for (let which = 0; which < 10; which++) world.setReady(which, true);
    }
  };
  for (const image of ["v1", "v2", "v3", "v4"]) {
    world.deployment = structuredClone(world.deployment);
    world.deployment.spec.template.spec.containers[0]!.image = image;
    settle();
  }
  const revisions = world.sets.map(
    ({ metadata }) => metadata.annotations?.["deployment.kubernetes.io/revision"],
  );
  assert.deepEqual(revisions, ["3", "4"]);
  world.deployment = structuredClone(world.deployment);
  world.deployment.spec.paused = true;
  world.deployment.spec.replicas = 3;
  world.deployment.spec.template.spec.containers[0]!.image = "v5";
  settle();
  assert.deepEqual(
    world.sets.map(({ spec }) => spec.replicas),
    [0, 3],
  );
});

test("a pod that failed holds its place for ten seconds: no hot loop of failing pods", () => {
  const world = new World(deploymentOf("web", 1));
  world.planAndApply();
  const [set] = world.sets;
  assert.ok(set);
  const failed = world.newPod(set);
  failed.status = { phase: "Failed" };
  const bornMs = Date.parse(failed.metadata.creationTimestamp ?? "");
  const at = (afterMs: number) =>
    planReplicaSet({ replicaSet: set, owned: [failed], orphans: [], nowMs: bornMs + afterMs });
  assert.equal(at(1000).create, 0);
  assert.equal(at(1000).againMs, 9000);
  assert.equal(at(10_000).create, 1);
  assert.deepEqual(at(10_000).remove, [failed]);
});

import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { NodeVerdict, Pod, ReplicaSet } from "../../src/api/index.ts";
import { createCache } from "../../src/controllers/cache/cache.ts";
import { eventFor, surplusEvents } from "../../src/controllers/events/plan.ts";
import { createLoop } from "../../src/controllers/loop/loop.ts";
import { written } from "../../src/controllers/loop/outcome.ts";
import type { LeaseView } from "../../src/controllers/node-lifecycle/leases.ts";
import {
  lifecycleDefaults,
  markedStatus,
  planPod,
  toleratedFor,
} from "../../src/controllers/node-lifecycle/plan.ts";
import { tellSilence } from "../../src/controllers/node-lifecycle/loss-words.ts";
import { planNode, type NodeView } from "../../src/controllers/node-lifecycle/node-plan.ts";
import { createPendingPods } from "../../src/controllers/replica-set/pending.ts";
import { planReplicaSet } from "../../src/controllers/replica-set/plan.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";

const podOf = (name: string, version: number, extra: Partial<Pod["metadata"]> = {}): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name,
    namespace: "default",
    uid: `uid-${name}`,
    resourceVersion: String(version),
    ...extra,
  },
  spec: { containers: [{ name: "main" }] },
});
const owned = {
  ownerReferences: [
    { apiVersion: "apps/v1", kind: "ReplicaSet", name: "r", uid: "r", controller: true },
  ],
};

const loopDeps = () => ({ clock: createSimulatedClock(), random: seededRandom(1), log: silentLog });

test("a key waits once, never runs twice at a time, and runs again when it changed meanwhile", async () => {
  const deps = loopDeps();
  let running = 0;
  let runs = 0;
  const loop = createLoop(
    deps,
    async () => {
      assert.equal(++running, 1);
      await deps.clock.sleep(100);
      running--;
      runs++;
    },
    { name: "test", workers: 4 },
  );
  for (let index = 0; index < 5; index++) loop.add("a");
  loop.start();
  await deps.clock.advance(50);
  loop.add("a");
  loop.add("a");
  await deps.clock.advance(1000);
  assert.equal(runs, 2);
  assert.equal(loop.busy, 0);
  await loop.stop();
});

test("C11: what may pass comes back with growing delay, what is terminal waits for a change", async () => {
  const deps = loopDeps();
  const at: number[] = [];
  let error = new SkerryError({ code: "x", message: "x", retryable: true });
  const loop = createLoop(
    deps,
    async () => {
      at.push(deps.clock.monotonicMs());
      throw error;
    },
    { name: "test" },
  );
  loop.start();
  loop.add("a");
  await deps.clock.advance(60_000);
  const gaps = at.slice(1).map((ms, index) => ms - (at[index] ?? 0));
  assert.ok(gaps.length >= 8 && (gaps.at(-1) ?? 0) > (gaps[0] ?? 0) * 50, gaps.join());
  error = new SkerryError({ code: "y", message: "y", retryable: false });
  await deps.clock.advance(60_000);
  const count = at.length;
  await deps.clock.advance(600_000);
  assert.equal(at.length, count);
  loop.add("a");
  await deps.clock.advance(1);
  assert.equal(at.length, count + 1);
  await loop.stop();
  assert.equal(deps.clock.pending, 0);
});

test("C11: outcomes become values, retryable errors or terminal ones", () => {
  assert.equal(written({ state: "done", object: 1 }, "it"), 1);
  const refused = (reason: "conflict" | "invalid" | "not-found") =>
    ({ state: "refused", reason, message: "spec.x: no" }) as const;
  assert.equal(written(refused("not-found"), "it", ["not-found"]), undefined);
  const codeOf = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      return error instanceof SkerryError ? [error.code, error.retryable, error.message] : error;
    }
    return undefined;
  };
  assert.deepEqual(
    codeOf(() => written(refused("invalid"), "pod a")),
    ["write-refused", false, "pod a: spec.x: no"],
  );
  assert.equal((codeOf(() => written(refused("conflict"), "it")) as unknown[])[1], true);
  const unknown = { state: "unknown", cause: new Error("cut") } as const;
  assert.deepEqual((codeOf(() => written(unknown, "it")) as unknown[]).slice(0, 2), [
    "write-outcome-unknown",
    true,
  ]);
});

test("the cache ignores what is older, tells changes once, and answers by index", () => {
  const cache = createCache<Pod>(
    { owner: ({ metadata }) => metadata.ownerReferences?.map(({ uid }) => uid) ?? [] },
    (error) => assert.fail(String(error)),
  );
  const told: string[] = [];
  cache.onChange(({ key, object }) =>
    told.push(`${key} ${object?.metadata.resourceVersion ?? "gone"}`),
  );
  cache.put(podOf("a", 5, owned));
  cache.put(podOf("a", 4));
  cache.put(podOf("a", 5, owned));
  assert.deepEqual(
    cache.byIndex("owner", "r").map(({ metadata }) => metadata.name),
    ["a"],
  );
  cache.put(podOf("a", 6));
  assert.deepEqual(cache.byIndex("owner", "r"), []);
  cache.remove(podOf("a", 3, { uid: "another life" }));
  assert.equal(cache.size, 1);
  cache.replace([podOf("b", 7)], 9);
  assert.deepEqual([cache.revision, cache.synced, cache.size], [9, true, 1]);
  cache.replace([podOf("b", 2, { uid: "restored" })], 3);
  assert.equal(cache.get("default/b")?.metadata.uid, "restored", "a restored ledger counts anew");
  assert.equal(cache.revision, 3);
  assert.deepEqual(told, [
    "default/a 5",
    "default/a 6",
    "default/a gone",
    "default/b 7",
    "default/b 2",
  ]);
  assert.throws(() => cache.byIndex("nope", "x"), /no index "nope"/);
});

test("C11: a listing is told only when all of it stands", () => {
  const cache = createCache<Pod>({}, (error) => assert.fail(String(error)));
  const sizes: number[] = [];
  cache.onChange(() => sizes.push(cache.size));
  cache.replace([podOf("a", 1), podOf("b", 2), podOf("c", 3)], 3);
  cache.replace([podOf("d", 4)], 4);
  assert.deepEqual(sizes, [3, 3, 3, 1, 1, 1, 1]);
});

test("C11: pending pods count until the cache has caught up, and no longer", () => {
  const pending = createPendingPods();
  pending.made("r", podOf("a", 10));
  assert.equal(pending.overlay("r", [], 9).length, 1);
  assert.equal(pending.overlay("r", [podOf("a", 10)], 9).length, 1);
  assert.equal(pending.size, 0);
  pending.made("r", podOf("b", 20));
  assert.equal(pending.overlay("r", [], 20).length, 0, "made, and gone again before it was seen");
  pending.unsure("r", podOf("c", 0));
  assert.deepEqual(
    pending.unsureOf("r").map(({ metadata }) => metadata.name),
    ["c"],
  );
  assert.equal(pending.overlay("r", [], 99).length, 1, "unsure counts until it is known");
  pending.notMade("r", podOf("c", 0));
  assert.equal(pending.overlay("r", [], 99).length, 0);
  const there = podOf("d", 30);
  pending.removing("r", there);
  assert.ok(pending.overlay("r", [there], 30)[0]?.metadata.deletionTimestamp);
  assert.equal(pending.overlay("r", [], 31).length, 0);
  assert.equal(pending.size, 0);
});

const unreachable = (forMs: number): NodeVerdict => ({
  state: "unreachable",
  forMs,
  witnesses: ["n3"],
});
const step = (
  pod: Pod,
  verdict: NodeVerdict | undefined,
  more: { allowed?: boolean; backForMs?: number; lease?: Partial<LeaseView> } = {},
) =>
  planPod(
    {
      pod,
      node: "n2",
      verdict,
      backForMs: more.backForMs ?? 0,
      mayEvict: { allowed: more.allowed ?? true, because: "because" },
      lease: { ageMs: 0, version: "7", isExact: true, ...more.lease },
      nowMs: 0,
    },
    lifecycleDefaults,
  );

test("C4: tolerations decide when, rule E whether", () => {
  const pod = podOf("a", 1, owned);
  assert.equal(step(pod, unreachable(1500)).do, "displace");
  assert.equal(step(pod, unreachable(1500), { allowed: false }).do, "hold");
  assert.equal(step(pod, { state: "link-down", forMs: 99_000, heardBy: ["n3"] }).do, "nothing");
  assert.equal(step(pod, { state: "unknown" }).do, "nothing");
  assert.equal(step(pod, undefined).do, "nothing");
  assert.equal(step(podOf("bare", 1), unreachable(1500)).do, "hold");
  const patient: Pod = {
    ...pod,
    spec: {
      ...pod.spec,
      tolerations: [
        { key: "node.kubernetes.io/unreachable", operator: "Exists", tolerationSeconds: 60 },
      ],
    },
  };
  assert.deepEqual(step(patient, unreachable(1500)), { do: "nothing", againMs: 58_500 });
  assert.equal(step(patient, unreachable(60_000)).do, "displace");
  const forever: Pod = { ...pod, spec: { ...pod.spec, tolerations: [{ operator: "Exists" }] } };
  assert.deepEqual(step(forever, unreachable(9e9)), { do: "nothing" });
  assert.equal(toleratedFor(forever, "any"), Infinity);
});

test("C5: agent-down waits 30 s; stop pods, claims and devices are held", () => {
  const pod = podOf("a", 1, owned);
  assert.deepEqual(step(pod, { state: "agent-down", forMs: 10_000 }), {
    do: "nothing",
    againMs: 20_000,
  });
  assert.equal(
    step(pod, { state: "agent-down", forMs: 30_000 }, { allowed: false }).do,
    "displace",
  );
  const stop = podOf("b", 1, { ...owned, annotations: { "skerry.dev/on-partition": "stop" } });
  const claim: Pod = {
    ...pod,
    spec: { ...pod.spec, volumes: [{ name: "v", persistentVolumeClaim: { claimName: "c" } }] },
  };
  const device: Pod = {
    ...pod,
    spec: { containers: [{ name: "m", resources: { limits: { "vendor.dev/gpu": 1 } } }] },
  };
  const down: NodeVerdict = { state: "agent-down", forMs: 9e6 };
  for (const single of [stop, claim, device]) {
    for (const verdict of [unreachable(9e6), down]) {
      const held = step(single, verdict, { lease: { ageMs: 62_999 } });
      assert.ok(held.do === "hold" && held.againMs === 1);
      assert.match(
        held.message,
        /started elsewhere 63 s after .* renewed \(30 s of lease, 30 s to/,
      );
      const ended = step(single, verdict, { lease: { ageMs: 63_000 } });
      assert.ok(ended.do === "end" && ended.leaseVersion === "7");
      assert.equal(markedStatus(single, ended, 0)?.phase, "Failed");
      const former = step(single, verdict, { lease: { ageMs: 9e9, isExact: false } });
      assert.ok(former.do === "hold" && former.againMs === undefined);
    }
    assert.equal(step(single, unreachable(9e6), { allowed: false }).do, "hold");
  }
  const keeps = {
    ...claim,
    metadata: { ...claim.metadata, annotations: { "skerry.dev/on-partition": "keep" } },
  };
  assert.equal(step(keeps, unreachable(9e6)).do, "displace");
  const brief: Pod = {
    ...stop,
    metadata: {
      ...stop.metadata,
      annotations: { ...stop.metadata.annotations, "skerry.dev/partition-ttl": "5s" },
    },
    spec: { ...stop.spec, terminationGracePeriodSeconds: 1 },
  };
  assert.equal(step(brief, unreachable(2000), { lease: { ageMs: 9000 } }).do, "end");
  const going: Pod = { ...brief, metadata: { ...brief.metadata, deletionTimestamp: "pending" } };
  const gone = step(going, unreachable(2000), { lease: { ageMs: 9000, version: undefined } });
  assert.deepEqual(gone, { do: "forget", lease: { version: undefined } });
});

test("C19: what may still run of a single pod keeps its place", () => {
  const template = {
    metadata: { labels: { app: "one" }, annotations: { "skerry.dev/on-partition": "stop" } },
    spec: { containers: [{ name: "m", image: "host" }] },
  };
  const replicaSet: ReplicaSet = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: { name: "one" },
    spec: { replicas: 1, selector: { matchLabels: { app: "one" } }, template },
  };
  const mine = (more: Partial<Pod["metadata"]>, status: Pod["status"] = {}): Pod => ({
    ...podOf("a", 1, { ...owned, labels: { app: "one" }, ...more }),
    status,
  });
  const missing = (...pods: Pod[]) =>
    planReplicaSet({ replicaSet, owned: pods, orphans: [], nowMs: 60_000 }).create;
  const displaced = { type: "skerry.dev/Displaced", status: "True", reason: "NodeLost" } as const;
  assert.equal(missing(), 1);
  assert.equal(missing(mine({ deletionTimestamp: "pending" })), 0);
  assert.equal(missing(mine({}, { conditions: [displaced] })), 0);
  assert.equal(missing(mine({}, { phase: "Failed" })), 1);
});

test("C3: a mark is set once, taken back after the node settled, and then left alone", () => {
  const pod = podOf("a", 1, owned);
  const displace = step(pod, unreachable(1500));
  const marked: Pod = { ...pod, status: markedStatus(pod, displace, 0) };
  assert.equal(marked.status?.reason, "NodeLost");
  assert.equal(step(marked, unreachable(2500)).do, "nothing");
  assert.deepEqual(step(marked, { state: "alive" }, { backForMs: 1000 }), {
    do: "nothing",
    againMs: 2000,
  });
  const recall = step(marked, { state: "alive" }, { backForMs: 3000 });
  assert.equal(recall.do, "recall");
  const back: Pod = { ...marked, status: markedStatus(marked, recall, 0) };
  assert.equal(back.status?.reason, undefined);
  assert.equal(step(back, { state: "alive" }, { backForMs: 3000 }).do, "nothing");
  assert.equal(markedStatus(back, recall, 0), undefined);
});

test("a node's condition and taints follow the verdict; foreign taints stay; unknown changes nothing", () => {
  const foreign = { key: "lab", effect: "NoSchedule" } as const;
  const node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "n2" },
    spec: { taints: [foreign] },
  } as const;
  const fresh = structuredClone(node) as unknown as NodeView["node"];
  const plan = (verdict: NodeVerdict | undefined, on = fresh) =>
    planNode({ node: on, verdict, nowMs: 0 }, lifecycleDefaults);
  const silent = plan(unreachable(2000));
  assert.deepEqual(
    silent.taints?.map(({ key, effect }) => `${key}:${effect}`),
    [
      "lab:NoSchedule",
      "node.kubernetes.io/unreachable:NoSchedule",
      "node.kubernetes.io/unreachable:NoExecute",
    ],
  );
  assert.equal(silent.conditions?.[0]?.status, "Unknown");
  const known = {
    ...fresh,
    spec: { taints: silent.taints },
    status: { conditions: silent.conditions },
  };
  assert.deepEqual(plan(unreachable(9000), known), {
    conditions: undefined,
    taints: undefined,
    againMs: undefined,
  });
  assert.deepEqual(plan({ state: "unknown" }, known).taints, undefined);
  const back = plan({ state: "alive" }, known);
  assert.deepEqual(back.taints, [foreign]);
  assert.equal(plan({ state: "agent-down", forMs: 1000 }, known).againMs, 4000);
  assert.equal(plan(undefined).conditions?.[0]?.reason, "NotHeardYet");
});

test("a node's condition and the event of its loss say what the evidence can tell apart", () => {
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: "n2" } } as const;
  const said = (verdict: NodeVerdict) =>
    planNode({ node, verdict, nowMs: 0 }, lifecycleDefaults).conditions?.[0]?.message ?? "";
  const silent = { state: "unreachable", forMs: 2000, witnesses: ["n3"] } as const;
  assert.match(said(silent), /for 2 s; asked: n3; dead or cut off$/);
  assert.match(said({ ...silent, hub: "hears" }), /cut off from the cell, not dead/);
  assert.match(said({ state: "link-down", forMs: 9000, heardBy: ["n3"] }), /but n3 hears it/);
  assert.match(
    said({ state: "agent-down", forMs: 9000, knownBy: "ledger" }),
    /its ledger member answers.*neither its agent nor its keeper/,
  );
  assert.equal(tellSilence("n2", silent, "n1"), "n2 unreachable for 2 s to n1 and n3");
  assert.equal(
    tellSilence("n2", { ...silent, hub: "hears" }, "n1"),
    "n2 unreachable for 2 s to n1 and n3 (cut off from the cell, not dead: the hub hears it)",
  );
});

test("C10: repetitions share a name, other messages do not, and the oldest beyond the limit go", () => {
  const pod = podOf("a", 1);
  const make = (message: string, atMs: number) =>
    eventFor({ about: pod, type: "Normal", reason: "R", message }, "c", atMs);
  assert.equal(make("x", 1).metadata.name, make("x", 99_000).metadata.name);
  assert.notEqual(make("x", 1).metadata.name, make("y", 1).metadata.name);
  const all = [1, 3, 2].map((seconds) => make(`m${seconds}`, seconds * 1000));
  assert.deepEqual(
    surplusEvents(all, 2).map(({ message }) => message),
    ["m1"],
  );
});

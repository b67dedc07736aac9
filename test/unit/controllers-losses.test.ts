/** What is told of a lost node, and how its loss is followed. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Condition, Pod } from "../../src/api/index.ts";
import { createSimilar, eventFor, seenAgain } from "../../src/controllers/events/plan.ts";
import { createLosses, type LossEnd } from "../../src/controllers/node-lifecycle/losses.ts";
import {
  evictionsHeldCondition,
  flappingCondition,
  planNode,
  type NodeView,
} from "../../src/controllers/node-lifecycle/node-plan.ts";
import { lifecycleDefaults } from "../../src/controllers/node-lifecycle/plan.ts";
import type { MonotonicMs } from "../../src/lib/brand.ts";

const podOf = (name: string, extra: Partial<Pod["metadata"]> = {}): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", uid: `uid-${name}`, ...extra },
  spec: { containers: [{ name: "main" }] },
});
const owned = {
  ownerReferences: [
    { apiVersion: "apps/v1", kind: "ReplicaSet", name: "r", uid: "r", controller: true },
  ],
};
const unreachable = (forMs: number) => ({ state: "unreachable", forMs, witnesses: [] }) as const;

test("C15, C16: held evictions and flapping stand on the node while they last, and are taken back", () => {
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: "n2" } } as const;
  const tolerance = (flaps: number) => ({ flaps, toleratedMs: 1500 * flaps, usualMs: 1500 });
  const plan = (view: Omit<NodeView, "nowMs" | "node">, conditions?: readonly Condition[]) =>
    planNode(
      { node: { ...node, status: { conditions: [...(conditions ?? [])] } }, nowMs: 0, ...view },
      lifecycleDefaults,
    );
  const find = (conditions: readonly Condition[] | undefined, type: string) =>
    conditions?.find((one) => one.type === type);

  const alive = { verdict: { state: "alive" } as const };
  const calm = plan({ ...alive, tolerance: tolerance(1) }).conditions;
  assert.deepEqual(
    calm?.map(({ type }) => type),
    ["Ready"],
  );

  const mayEvict = { allowed: false, because: "this server reaches 1 of 3 nodes" };
  const held = plan({ verdict: unreachable(2000), mayEvict }, calm).conditions;
  assert.equal(find(held, evictionsHeldCondition)?.status, "True");
  assert.equal(find(held, evictionsHeldCondition)?.message, mayEvict.because);
  assert.equal(plan({ verdict: unreachable(9000), mayEvict }, held).conditions, undefined);
  const open = { ...mayEvict, againMs: 100 };
  assert.equal(plan({ verdict: unreachable(9000), mayEvict: open }, held).conditions, undefined);
  const lifted = plan(
    { verdict: unreachable(9000), mayEvict: { ...mayEvict, allowed: true } },
    held,
  );
  assert.equal(find(lifted.conditions, evictionsHeldCondition)?.status, "False");

  const twice = plan({ ...alive, tolerance: tolerance(2) }, calm);
  assert.equal(find(twice.conditions, flappingCondition)?.reason, "Flapped2Times");
  assert.ok(twice.againMs, "it is looked at again, to be taken back");
  assert.equal(plan({ ...alive, tolerance: tolerance(2) }, twice.conditions).conditions, undefined);
  const thrice = plan({ ...alive, tolerance: tolerance(3) }, twice.conditions).conditions;
  assert.match(
    find(thrice, flappingCondition)?.message ?? "",
    /3 times .* 4\.5 s instead of 1\.5 s/,
  );
  const steady = plan({ ...alive, tolerance: tolerance(1) }, thrice);
  assert.equal(find(steady.conditions, flappingCondition)?.status, "False");
  assert.equal(steady.againMs, undefined);
});

test("C10: of many different messages about one thing for one reason one event is made", () => {
  const similar = createSimilar({ similarMax: 3, windowMs: 1000, subjectsMax: 2 });
  const ask = (name: string, message: string, atMs = 0) =>
    similar.isTooMany({ about: podOf(name), type: "Normal", reason: "R", message }, atMs);
  assert.deepEqual(
    ["a", "b", "c", "a", "d", "e"].map((message) => ask("x", message)),
    [false, false, false, false, true, true],
  );
  assert.equal(ask("y", "a"), false);
  assert.equal(ask("x", "f", 1001), false, "the window is over");
  const about = podOf("x");
  const combined = (message: string) =>
    eventFor({ about, type: "Normal", reason: "R", message, combined: true }, "c", 1);
  assert.equal(combined("d").metadata.name, combined("e").metadata.name);
  assert.equal(combined("e").message, "(combined from similar events): e");
  assert.equal(
    seenAgain(combined("d"), 2, 5, combined("e").message).message,
    combined("e").message,
  );
});

test("C14: pods lost twice, taken away or not replaced are counted for what they are", () => {
  const ends: LossEnd[] = [];
  let nowMs = 0;
  const losses = createLosses(
    { nowMs: () => nowMs as MonotonicMs, isRouted: () => true, onEnd: (end) => ends.push(end) },
    { lateMs: 60_000 },
  );
  const running = (name: string, nodeName: string): Pod => ({
    ...podOf(name, owned),
    spec: { containers: [], nodeName },
    status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  });
  const [a, b, c, d] = [
    running("a", "n2"),
    running("b", "n3"),
    running("c", "n3"),
    running("d", "n1"),
  ];
  const uid = (pod: Pod) => pod.metadata.uid ?? "";
  losses.judged("n2");
  nowMs = 10;
  losses.losing("n2", "n2 gone", a, [a, b]);
  losses.lost("n2", a);
  losses.seen(uid(b), b);
  assert.equal(ends.length, 0, "what was there before replaces nothing");
  // Its replacement is lost too, before it was ready; and one that nobody needs any more.
  losses.seen(uid(c), { ...c, status: { phase: "Pending" } });
  losses.losing("n3", "n3 gone", c, [a, b, c]);
  losses.lost("n3", c);
  losses.losing("n3", "n3 gone", b, [a, b, c]);
  losses.spared("n3", b);
  nowMs = 500;
  losses.seen(uid(d), d);
  assert.deepEqual(ends, [
    {
      state: "replaced",
      node: "n2",
      silence: "n2 gone",
      count: 1,
      nodes: ["n1"],
      fromMs: 0 as MonotonicMs,
      phases: { decidedMs: 10, scheduledMs: 500, startedMs: 500, routedMs: 500 },
    },
  ]);
  assert.equal(losses.open, 1);
  nowMs = 70_000;
  losses.expire();
  assert.deepEqual(ends[1], {
    state: "late",
    node: "n3",
    silence: "n3 gone",
    count: 1,
    done: 0,
    afterMs: 69_990,
  });
  assert.equal(losses.open, 0);
});

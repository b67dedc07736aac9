import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Pod } from "../../src/api/index.ts";
import type { Instance, InstanceState } from "../../src/workloads/index.ts";
import { createInstanceTable } from "../../src/workloads/pods/instance-table.ts";
import {
  nextStart,
  planPod,
  restartDelayMs,
  type ContainerNotes,
  type PodView,
  type Step,
} from "../../src/workloads/pods/plan.ts";
import { podStatusOf } from "../../src/workloads/pods/status.ts";
import { pod } from "../support/workloads.ts";

const abilities = { limits: "enforced", kill: "cgroup", network: "shared" } as const;

function instance(
  attempt: number,
  current: InstanceState,
  more: Partial<Instance["owner"]> = {},
): Instance {
  const owner = {
    podUid: "u",
    namespace: "default",
    podName: "p",
    container: "main",
    attempt,
    crashes: 0,
    ...more,
  };
  return { id: `u_${owner.container}_${attempt}`, owner, graceMs: 1000, current, abilities };
}
const running: InstanceState = { state: "running", startedMs: 0 };
const exited = (code: number | undefined, endedMs: number, startedMs = 0): InstanceState => ({
  state: "exited",
  exit: {
    reason: code === undefined ? "unknown" : "exited",
    ...(code === undefined ? {} : { code }),
  },
  startedMs,
  endedMs,
});

function view(object: Pod, instances: readonly Instance[], more: Partial<PodView> = {}): PodView {
  return {
    pod: object,
    found: object.status,
    removed: false,
    instances,
    notesByContainer: new Map<string, ContainerNotes>(),
    nowMs: 1_000_000,
    ...more,
  };
}
const starts = (steps: readonly Step[]) =>
  steps.flatMap((step) =>
    step.do === "start" ? [{ attempt: step.attempt, crashes: step.crashes }] : [],
  );

test("W5: the first restart is at once, then 10 s doubling to 5 min; ten steady minutes forgive", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 60].map(restartDelayMs),
    [0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000],
  );
  const after = (ranMs: number, crashes: number) =>
    nextStart(instance(7, exited(1, ranMs), { crashes }), {
      policy: "Always",
      nowMs: ranMs,
      firstAttempt: 0,
      unhealthy: false,
    });
  assert.deepEqual(after(1000, 0), { state: "now", attempt: 8, crashes: 1 });
  assert.deepEqual(after(1000, 2), {
    state: "later",
    inMs: 20_000,
    delayMs: 20_000,
    attempt: 8,
    crashes: 3,
  });
  assert.deepEqual(after(600_000, 9), { state: "now", attempt: 8, crashes: 1 });
});

test("W5: a wall clock set back or forth never makes a restart wait longer than its backoff", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 0, max: 1e12 }),
      fc.nat(30),
      (skewMs, endedMs, crashes) => {
        const next = nextStart(instance(0, exited(1, endedMs, endedMs), { crashes }), {
          policy: "Always",
          nowMs: endedMs + skewMs,
          firstAttempt: 0,
          unhealthy: false,
        });
        if (next.state === "later")
          assert.ok(next.inMs > 0 && next.inMs <= restartDelayMs(crashes + 1));
        else assert.equal(next.state, "now");
      },
    ),
  );
});

test("W13: the plan converges: carried out, it starts each container once, keeps two runs, then asks nothing", () => {
  const action = fc.oneof(
    fc.record({
      do: fc.constant("end" as const),
      code: fc.option(fc.nat(255), { nil: undefined }),
    }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.nat(700_000) }),
    fc.record({ do: fc.constant("delete" as const) }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom("Always" as const, "OnFailure" as const, "Never" as const),
      fc.array(action, { maxLength: 20 }),
      (restartPolicy, actions) => {
        let object = pod("p", { script: "true" }, { spec: { restartPolicy } });
        let nowMs = 1_000_000;
        let instances: Instance[] = [];
        let finished = false;
        const settle = () => {
          for (let round = 0; round < 20; round++) {
            const plan = planPod(view(object, instances, { nowMs }));
            if (plan.steps.length === 0 || finished) return;
            for (const step of plan.steps) {
              if (step.do === "start") {
                const live = instances.filter(({ current }) => current.state !== "exited");
                assert.equal(live.length, 0, "never two runs of one container at once");
                instances.push(
                  instance(
                    step.attempt,
                    { state: "running", startedMs: nowMs },
                    { crashes: step.crashes },
                  ),
                );
              } else if (step.do === "finish") finished = true;
              else {
                instances = instances.flatMap((one) => {
                  if (one.id !== step.id) return [one];
                  return step.do === "remove" ? [] : [{ ...one, current: exited(143, nowMs) }];
                });
              }
            }
          }
          assert.fail("the plan does not settle");
        };
        settle();
        for (const next of actions) {
          if (next.do === "pass") nowMs += next.ms;
          else if (next.do === "delete") {
            object = {
              ...object,
              metadata: { ...object.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" },
            };
          } else {
            instances = instances.map((one) =>
              one.current.state === "running"
                ? { ...one, current: exited(next.code, nowMs, one.current.startedMs) }
                : one,
            );
          }
          settle();
          assert.ok(instances.length <= 2);
          assert.equal(finished, object.metadata.deletionTimestamp !== undefined);
          if (finished) return assert.deepEqual(instances, []);
        }
      },
    ),
  );
});

test("W6: a run that nobody saw end counts as a failure and as exit code 137", () => {
  const object = pod("p", { script: "true" }, { spec: { restartPolicy: "OnFailure" } });
  const lost = view(object, [instance(0, exited(undefined, 999_000))]);
  assert.deepEqual(starts(planPod(lost).steps), [{ attempt: 1, crashes: 1 }]);
  const never = { ...object, spec: { ...object.spec, restartPolicy: "Never" as const } };
  const status = podStatusOf(view(never, lost.instances), {
    node: { name: "n1", address: "10.0.0.1" },
    abilities,
    driverName: "process",
  });
  assert.equal(status.phase, "Failed");
  const { terminated } = status.containerStatuses?.[0]?.state ?? {};
  assert.deepEqual([terminated?.exitCode, terminated?.reason], [137, "ContainerStatusUnknown"]);
});

test("W2: with no record left, the restart count goes on from what was reported", () => {
  const object = pod("p", { script: "true" });
  object.status = {
    phase: "Running",
    containerStatuses: [
      {
        name: "main",
        ready: true,
        restartCount: 4,
        image: "host",
        imageID: "",
        state: { running: {} },
      },
    ],
  };
  assert.deepEqual(starts(planPod(view(object, [])).steps), [{ attempt: 5, crashes: 0 }]);
});

test("a pod that was reported ended stays ended: what runs is stopped, nothing is started", () => {
  const object = pod("p", { script: "true" });
  object.status = { phase: "Failed", reason: "Evicted" };
  assert.deepEqual(planPod(view(object, [instance(0, running)])).steps, [
    { do: "stop", id: "u_main_0", reason: "the pod has ended" },
  ]);
  assert.deepEqual(planPod(view(object, [])).steps, []);
});

test("W8: a final refusal is not tried again, another one at its time", () => {
  const object = pod("p", {});
  const refused = (more: { final: boolean; retryAtMs?: number }) =>
    planPod(
      view(object, [], {
        notesByContainer: new Map([["main", { refusal: { reason: "r", message: "m", ...more } }]]),
      }),
    );
  assert.deepEqual(refused({ final: true }), { steps: [] });
  assert.deepEqual(refused({ final: false, retryAtMs: 1_005_000 }), { steps: [], wakeInMs: 5000 });
  assert.equal(refused({ final: false, retryAtMs: 1_000_000 }).steps.length, 1);
});

test("W7: an unhealthy instance is stopped, and restarted even where success would be left alone", () => {
  const object = pod("p", { script: "true" }, { spec: { restartPolicy: "OnFailure" } });
  const notesByContainer = new Map([
    ["main", { probed: { instance: "u_main_0", started: true, ready: false, unhealthy: "no" } }],
  ]);
  const now = (current: InstanceState) =>
    planPod(view(object, [instance(0, current)], { notesByContainer })).steps;
  assert.deepEqual(now(running), [{ do: "stop", id: "u_main_0", reason: "no" }]);
  assert.deepEqual(starts(now(exited(0, 999_000))), [{ attempt: 1, crashes: 1 }]);
});

test("an instance never goes back in its life, whatever order events and lists come in", () => {
  const table = createInstanceTable({ onChange: () => {} });
  table.put(instance(0, exited(0, 5)));
  table.put(instance(0, running));
  assert.equal(table.all()[0]?.current.state, "exited");
  const before = table.mark();
  table.put(instance(1, running));
  table.replace([], before);
  assert.deepEqual(
    table.all().map(({ id }) => id),
    ["u_main_1"],
    "what came after the question is not gone",
  );
});

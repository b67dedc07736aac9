import { strict as assert } from "node:assert";
import { test } from "node:test";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createPodRunner, type Driver, type Instance } from "../../src/workloads/index.ts";
import { leaveRotation } from "../../src/workloads/pods/rotation.ts";
import { createFakeCell, pod } from "../support/workloads.ts";
import { waitFor } from "../support/wait.ts";

const ports = [{ containerPort: 8080, protocol: "TCP" as const }];

/** Settles what is under way, step by step, until it is over or `ms` have passed. */
async function tookMs(work: (clock: ReturnType<typeof createSimulatedClock>) => Promise<void>) {
  const clock = createSimulatedClock();
  const over = { atMs: undefined as number | undefined };
  void work(clock).then(() => (over.atMs = clock.monotonicMs()));
  for (let i = 0; i < 1000 && over.atMs === undefined; i++) await clock.advance(5);
  return over.atMs;
}

test("W14: the end waits until the pod has left and others know, and never longer than two seconds", async () => {
  const web = pod("web", { ports });
  const leavesAfter = (ms: number) => (clock: ReturnType<typeof createSimulatedClock>) =>
    leaveRotation({ clock, rotation: { holds: async () => clock.monotonicMs() < ms } }, web);
  assert.equal(await tookMs(leavesAfter(0)), 150);
  assert.equal(await tookMs(leavesAfter(300)), 450);
  assert.equal(await tookMs(leavesAfter(Infinity)), 2_150);
  const unreadable = { holds: () => Promise.reject(new Error("the mirror is closed")) };
  assert.equal(await tookMs((clock) => leaveRotation({ clock, rotation: unreadable }, web)), 150);
  assert.equal(
    await tookMs((clock) => leaveRotation({ clock, rotation: unreadable }, pod("job", {}))),
    0,
  );
});

test("W14: a deleted pod is stopped once it is out of rotation, with grace 0 at once", async () => {
  const instances = new Map<string, Instance>();
  const stopped: string[] = [];
  const abilities = { limits: "none", kill: "group", network: "shared" } as const;
  const driver: Driver = {
    name: "process",
    abilities: async () => abilities,
    async start({ id, owner, graceMs }) {
      const current = { state: "running", startedMs: systemClock.wallMs() } as const;
      const instance: Instance = { id, owner, graceMs, current, abilities };
      instances.set(id, instance);
      return instance;
    },
    async stop(id) {
      stopped.push(instances.get(id)?.owner.podName ?? "");
      const exit = { code: 0, reason: "stopped" } as const;
      const ended = { state: "exited", exit, endedMs: systemClock.wallMs() } as const;
      const instance = { ...(instances.get(id) as Instance), current: ended };
      instances.set(id, instance);
      return instance;
    },
    remove: async (id) => void instances.delete(id),
    list: async () => [...instances.values()],
    onChange: () => () => {},
    exec: () => Promise.reject(new Error("nobody asks")),
    async *logs() {},
  };
  const cell = createFakeCell();
  const asked: string[] = [];
  let held = true;
  const runner = createPodRunner(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      driver,
      ...cell.ports,
      rotation: {
        async holds({ metadata }) {
          asked.push(metadata.name);
          return held;
        },
      },
    },
    { node: { name: "n1", address: "127.0.0.1" }, baseEnvironment: {} },
  );
  await runner.start();
  try {
    const web = pod("web", { script: "serve", ports });
    const forced = pod(
      "forced",
      { script: "serve", ports },
      { metadata: { deletionGracePeriodSeconds: 0 } },
    );
    cell.put(web);
    cell.put(forced);
    await waitFor(() => instances.size === 2, { what: "both to run" });
    cell.terminate(forced);
    await waitFor(() => stopped.includes("forced"), { what: "the forced stop" });
    assert.ok(!asked.includes("forced"));
    cell.terminate(web);
    await waitFor(() => asked.includes("web"), { what: "the rotation to be looked at" });
    held = false;
    await waitFor(() => stopped.includes("web"), { what: "the stop" });
  } finally {
    await runner.stop();
  }
});

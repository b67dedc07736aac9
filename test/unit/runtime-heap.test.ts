/** When a heap is collected to give memory back: after work, in calm, seldom, and where it is quick. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { MonotonicMs } from "../../src/lib/brand.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { settleHeap } from "../../src/runtime/heap/index.ts";

function heap({ collectMs = 30, turns = 0 } = {}) {
  const virtual = createSimulatedClock();
  let stoppedMs = 0;
  const clock: Clock = {
    ...virtual,
    monotonicMs: () => (virtual.monotonicMs() + stoppedMs) as MonotonicMs,
  };
  const collected: string[] = [];
  let processorMs = 0;
  settleHeap(
    {
      clock,
      processorMs: () => processorMs,
      collect() {
        collected.push("once");
        stoppedMs += collectMs;
      },
      collectAll: () => void collected.push("all"),
    },
    { turns },
  );
  return {
    /** What was collected in this time with this share of a core in use. */
    async pass(seconds: number, share: number) {
      for (let second = 0; second < seconds; second++) {
        processorMs += 1000 * share;
        await virtual.advance(1000);
      }
      return collected.splice(0);
    },
  };
}
const [idle, busy] = [0.02, 0.6];

test("after its start, and after work, a heap is collected once it is calm", async () => {
  const { pass } = heap();
  assert.deepEqual(await pass(300, busy), []);
  assert.deepEqual(await pass(20, idle), []);
  assert.deepEqual(await pass(20, idle), ["once", "all"]);
  assert.deepEqual(await pass(150, idle), [], "nothing has grown since");
  assert.deepEqual(await pass(60, busy), []);
  assert.deepEqual(await pass(60, idle), ["once", "all"]);
});

test("work that comes and goes is not stopped each time: at first sooner, then every ten minutes", async () => {
  const { pass } = heap();
  const minutes: number[] = [];
  for (let minute = 0; minute < 120; minute++) {
    const seen = [...(await pass(15, busy)), ...(await pass(45, idle))];
    if (seen.includes("all")) minutes.push(minute);
  }
  const apart = minutes.slice(1).map((minute, index) => minute - (minutes[index] ?? 0));
  assert.deepEqual(apart.slice(0, 4), [1, 2, 4, 8]);
  assert.deepEqual(new Set(apart.slice(4)), new Set([10]));
});

test("what gathers while nothing happens is collected every three minutes", async () => {
  const { pass } = heap();
  await pass(60, idle);
  const hour = await pass(3600, idle);
  assert.deepEqual(new Set(hour), new Set(["once"]));
  assert.equal(hour.length, 20);
});

test("where one collection takes long, no more follow", async () => {
  const { pass } = heap({ collectMs: 300 });
  assert.deepEqual(await pass(60, idle), ["once"]);
  assert.deepEqual(await pass(3600, idle), []);
});

test("isolates of a process take turns", async () => {
  const whenCollected = async (turns: number) => {
    const { pass } = heap({ turns });
    for (let seconds = 10; seconds < 120; seconds += 10)
      if ((await pass(10, idle)).length > 0) return seconds;
    return assert.fail("never");
  };
  const times = await Promise.all([0, 1, 2].map(whenCollected));
  assert.deepEqual(times, [30, 40, 50]);
});

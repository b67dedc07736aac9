import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createBackoff } from "../../src/lib/backoff.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { deadline, every } from "../../src/lib/clock.ts";
import { seededRandom } from "../../src/lib/random.ts";

test("simulated clock: timers fire by due time, ties by arming, microtasks between them", async () => {
  const clock = createSimulatedClock();
  const seen: string[] = [];
  clock.after(20, () => seen.push("20"));
  clock.after(10, () => {
    seen.push("10");
    void Promise.resolve().then(() => seen.push("10 settled"));
    clock.after(0, () => seen.push("10 again"));
    clock.after(100, () => seen.push("too late"));
  });
  clock.after(10, () => seen.push("10 second"));
  await clock.advance(20);
  assert.deepEqual(seen, ["10", "10 settled", "10 second", "10 again", "20"]);
  assert.equal(clock.monotonicMs(), 20);
  assert.equal(clock.pending, 1);
});

test("simulated clock: a timer sees its own due time, a cancelled one never fires", async () => {
  const clock = createSimulatedClock();
  const seen: number[] = [];
  clock.after(5, () => seen.push(clock.monotonicMs()));
  const cancelled = clock.after(7, () => seen.push(-1));
  clock.after(6, () => cancelled.cancel());
  await clock.advance(100);
  assert.deepEqual(seen, [5]);
  cancelled.cancel();
});

test("simulated clock: a step of the wall clock leaves the monotonic one alone", async () => {
  const clock = createSimulatedClock({ wallMs: 1000 });
  clock.stepWall(-500);
  assert.equal(clock.wallMs(), 500);
  await clock.advance(10);
  assert.equal(clock.wallMs(), 510);
  assert.equal(clock.monotonicMs(), 10);
});

test("simulated clock: sleep rejects with the signal's reason and leaves no timer", async () => {
  const clock = createSimulatedClock();
  const stop = new AbortController();
  const sleeping = clock.sleep(1000, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(sleeping, /enough/);
  await assert.rejects(clock.sleep(1, { signal: stop.signal }), /enough/);
  assert.equal(clock.pending, 0);
});

test("deadline: aborts by time with its reason, or with its parent, and cleans up", async () => {
  const clock = createSimulatedClock();
  const late = deadline(clock, 100, { reason: () => new Error("too slow") });
  await clock.advance(99);
  assert.equal(late.signal.aborted, false);
  await clock.advance(1);
  assert.match(String(late.signal.reason), /too slow/);

  const parent = new AbortController();
  const child = deadline(clock, 100, { parent: parent.signal });
  parent.abort("parent");
  assert.equal(child.signal.reason, "parent");
  child.done();

  const inTime = deadline(clock, 100, { parent: new AbortController().signal });
  inTime.done();
  await clock.advance(1000);
  assert.equal(inTime.signal.aborted, false);
  assert.equal(deadline(clock, 100, { parent: parent.signal }).signal.aborted, true);
});

test("every: waits for the run before, survives errors, stops when told", async () => {
  const clock = createSimulatedClock();
  const errors: unknown[] = [];
  let runs = 0;
  const timer = every(
    clock,
    () => 10,
    async () => {
      runs++;
      if (runs === 1) throw new Error("first");
      await clock.sleep(15);
    },
    (error) => errors.push(error),
  );
  await clock.advance(10);
  assert.deepEqual([runs, errors.length], [1, 1]);
  await clock.advance(10);
  assert.equal(runs, 2);
  await clock.advance(24);
  assert.equal(runs, 2, "15 ms of work and 10 ms of rest");
  await clock.advance(1);
  assert.equal(runs, 3);
  timer.cancel();
  await clock.advance(1000);
  assert.equal(runs, 3);
  assert.equal(clock.pending, 0);
});

test("backoff: between half and whole of a growing step, up to the maximum, until reset", () => {
  const backoff = createBackoff({ random: seededRandom(3) }, { initialMs: 100, maxMs: 1000 });
  const steps = [100, 200, 400, 800, 1000, 1000];
  for (const step of steps) {
    const delayMs = backoff.nextMs();
    assert.ok(delayMs >= step / 2 && delayMs <= step, `${delayMs} of ${step}`);
  }
  assert.equal(backoff.attempts, steps.length);
  backoff.reset();
  assert.equal(backoff.attempts, 0);
  assert.ok(backoff.nextMs() <= 100);
  for (let i = 0; i < 5000; i++) backoff.nextMs();
  assert.ok(backoff.nextMs() <= 1000, "thousands of attempts do not overflow");
});

/** The pace of a drill's load: it grows evenly, then it is steady. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { dueAfterMs } from "../../src/drill/load/ramp.ts";

test("without a ramp an open loop is steady", () => {
  assert.deepEqual(
    [0, 1, 2, 200].map((index) => dueAfterMs(index, { perSecond: 200 })),
    [0, 5, 10, 1000],
  );
});

test("the rate grows evenly until the ramp ends, and loses half of it", () => {
  const pace = { perSecond: 200, rampMs: 5000 };
  const due = Array.from({ length: 2000 }, (_, index) => dueAfterMs(index, pace));
  const inSecond = (second: number) =>
    due.filter((ms) => ms >= second * 1000 && ms < (second + 1) * 1000).length;
  const counts = [0, 1, 2, 3, 4, 5, 6].map(inSecond);
  for (const [second, wanted] of [20, 60, 100, 140, 180, 200, 200].entries())
    assert.ok(Math.abs((counts[second] ?? 0) - wanted) <= 1, counts.join());
  assert.ok(due.every((ms, index) => index === 0 || ms > (due[index - 1] ?? 0)));
  assert.equal(dueAfterMs(1000, pace) - dueAfterMs(999, pace), 5);
});

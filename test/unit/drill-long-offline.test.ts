import { strict as assert } from "node:assert";
import { test } from "node:test";
import { backlogPromises, type BacklogSeen } from "../../src/drill/scripts/long-offline-verdict.ts";
import { notMeasured } from "../../src/drill/scripts/verdict.ts";

const good: BacklogSeen = {
  acknowledged: 400_000,
  unknown: 500,
  arrived: 400_300,
  probed: 100,
  caughtUpMs: 8000,
  probeP99Ms: 40,
};
const broken = (more: Partial<BacklogSeen>, slowness = 1) =>
  backlogPromises({ ...good, ...more }, slowness)
    .filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("long-offline: each promise breaks by what it is about, and by what was not measured", () => {
  assert.deepEqual(broken({}), []);
  assert.deepEqual(broken({ acknowledged: 99_999, arrived: 100_099, caughtUpMs: 1000 }), ["O1"]);
  assert.deepEqual(broken({ acknowledged: 50_000, arrived: 50_100, caughtUpMs: 1000 }, 2), []);
  assert.deepEqual(broken({ arrived: 400_099 }), ["O2"]);
  assert.deepEqual(broken({ arrived: 400_601 }), ["O3"]);
  assert.deepEqual(broken({ caughtUpMs: 20_001 }), ["O4"]);
  assert.deepEqual(broken({ caughtUpMs: notMeasured }), ["O4"]);
  assert.deepEqual(broken({ probeP99Ms: 1001 }), ["O5"]);
  assert.deepEqual(broken({ probeP99Ms: notMeasured }), ["O5"]);
});

import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openCellTime } from "../../src/identity/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { dayMs, temporaryFolder, testNowMs } from "../support/identity.ts";

const minuteMs = 60_000;

test("I14: a clock set back to 1970 counts on from the last time known", async () => {
  using folder = temporaryFolder();
  const options = { folder: folder.path };
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const before = openCellTime({ clock, log: silentLog }, options);
  await clock.advance(30 * minuteMs);
  before.close();

  const reset = createSimulatedClock({ wallMs: 0 });
  const after = openCellTime({ clock: reset, log: silentLog }, options);
  assert.equal(after.nowMs(), testNowMs + 30 * minuteMs);
  await reset.advance(minuteMs);
  assert.equal(after.nowMs(), testNowMs + 31 * minuteMs);
  after.observe("n2", testNowMs + 5 * dayMs);
  assert.equal(
    after.nowMs(),
    testNowMs + 5 * dayMs,
    "one peer is believed: the own clock is wrong",
  );
  after.close();
});

test("I14: a clock that jumps ahead is outvoted by two peers and never saved", async () => {
  using folder = temporaryFolder();
  const options = { folder: folder.path };
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const time = openCellTime({ clock, log: silentLog }, options);
  clock.stepWall(1000 * dayMs);
  assert.equal(time.nowMs(), testNowMs + 1000 * dayMs, "alone, it has nothing else");
  await clock.advance(30 * minuteMs);
  time.observe("n2", testNowMs + 30 * minuteMs);
  time.observe("n3", testNowMs + 30 * minuteMs + 500);
  assert.ok(Math.abs(time.nowMs() - (testNowMs + 30 * minuteMs)) < 1000);
  time.close();
  const again = createSimulatedClock({ wallMs: 0 });
  const reopened = openCellTime({ clock: again, log: silentLog }, options);
  assert.ok(Math.abs(reopened.nowMs() - (testNowMs + 30 * minuteMs)) < 1000);
  reopened.close();
});

test("I14: one lying peer moves nothing, small differences are none, a torn file is no obstacle", async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, "time.json"), "torn");
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const time = openCellTime({ clock, log: silentLog }, { folder: folder.path });
  time.observe("liar", testNowMs + 900 * dayMs);
  time.observe("liar", Number.NaN);
  assert.equal(time.nowMs(), testNowMs);
  time.observe("n2", testNowMs + 3000);
  time.observe("n3", testNowMs + 4000);
  assert.equal(time.nowMs(), testNowMs);
  time.close();
});

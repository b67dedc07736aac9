import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { knownTimeMs, openCellTime } from "../../src/identity/index.ts";
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

const bootOf = (bootId: string, clock: { monotonicMs(): number }) => ({
  bootId,
  nowMs: () => clock.monotonicMs(),
});

test("I14: a clock a year ahead is corrected by a peer whose leaf it would refuse", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const kept = openCellTime({ clock, log: silentLog }, { folder: folder.path });
  kept.close();

  const ahead = createSimulatedClock({ wallMs: testNowMs + 365 * dayMs });
  const time = openCellTime({ clock: ahead, log: silentLog }, { folder: folder.path });
  assert.equal(time.nowMs(), testNowMs + 365 * dayMs, "alone, it has nothing else");
  time.dispute("n2", { fromMs: testNowMs - 10 * dayMs, untilMs: testNowMs + 20 * dayMs });
  assert.equal(time.nowMs(), testNowMs, "the earliest that the leaf and the last time known allow");
  time.observe("n2", testNowMs + 3 * dayMs);
  assert.equal(time.nowMs(), testNowMs + 3 * dayMs, "then links stand, and peers say it exactly");
  time.close();
});

test("I14: an old key cannot turn the time back, nor a single leaf from the future move it on", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const time = openCellTime({ clock, log: silentLog }, { folder: folder.path });
  time.dispute("retired", { fromMs: testNowMs - 60 * dayMs, untilMs: testNowMs - 30 * dayMs });
  assert.equal(time.nowMs(), testNowMs);
  time.dispute("ahead", { fromMs: testNowMs + 300 * dayMs, untilMs: testNowMs + 330 * dayMs });
  assert.equal(time.nowMs(), testNowMs);
  time.close();
});

test("I14: what peers agreed on stands across an agent's restart in the same boot, not across a boot", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const options = { folder: folder.path };
  const first = openCellTime({ clock, log: silentLog, steady: bootOf("boot-a", clock) }, options);
  first.observe("n2", testNowMs);
  // The agent is killed here: nothing more is written.
  clock.stepWall(365 * dayMs);
  await clock.advance(minuteMs);
  const same = bootOf("boot-a", clock);
  assert.equal(knownTimeMs(folder.path, { clock, steady: same }), testNowMs + minuteMs);
  const again = openCellTime({ clock, log: silentLog, steady: same }, options);
  assert.equal(again.nowMs(), testNowMs + minuteMs);
  again.close();

  const other = bootOf("boot-b", createSimulatedClock({ wallMs: 0 }));
  const booted = openCellTime({ clock, log: silentLog, steady: other }, options);
  assert.equal(booted.nowMs(), testNowMs + minuteMs + 365 * dayMs, "only the floor is left");
  booted.close();
});

test("I14: a step of the own clock moves no peer's vote, and a clock set right again is believed", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const time = openCellTime({ clock, log: silentLog }, { folder: folder.path });
  time.observe("n2", testNowMs);
  clock.stepWall(365 * dayMs);
  assert.equal(time.nowMs(), testNowMs, "without waiting for the next ping");
  assert.equal(
    time.tellMs(),
    testNowMs + 365 * dayMs,
    "peers are told the own clock: it is a vote",
  );
  clock.stepWall(-365 * dayMs - 20_000 * dayMs);
  assert.equal(time.nowMs(), testNowMs);
  assert.equal(time.tellMs(), testNowMs, "a clock known to be wrong has no vote");
  clock.stepWall(20_000 * dayMs);
  assert.equal(time.nowMs(), clock.wallMs());
  time.close();
});

test("I14: a peer that keeps trying with a leaf out of time is told of once, not with every attempt", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const lines: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void lines.push(message) };
  const time = openCellTime({ clock, log }, { folder: folder.path });
  for (let attempt = 0; attempt < 500; attempt++) {
    time.dispute("ahead", {
      fromMs: testNowMs + 300 * dayMs,
      untilMs: testNowMs + 330 * dayMs,
    });
    await clock.advance(2000);
  }
  assert.deepEqual(lines, ["the clocks of this machine and a peer differ"]);
  time.close();
});

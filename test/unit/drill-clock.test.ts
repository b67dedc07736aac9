import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { buildWallClock, createWallClock } from "../../src/drill/faults/wall-clock.ts";
import { clockPromises, type ClockSeen } from "../../src/drill/scripts/clock-verdict.ts";

const good: ClockSeen = {
  tries: 20,
  undone: 0,
  incremented: 60,
  counted: [60, 60, 60],
  unequal: 0,
  before: new Map([["a", "[1]"]]),
  after: new Map([["a", "[1]"]]),
  podsOff: 0,
};
const broken = (more: Partial<ClockSeen>) =>
  clockPromises({ ...good, ...more })
    .filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("clock: each promise breaks by what it is about, and by what was not measured", () => {
  assert.deepEqual(broken({}), []);
  assert.deepEqual(broken({ tries: 7 }), ["C1"]);
  assert.deepEqual(broken({ undone: 1 }), ["C2"]);
  assert.deepEqual(broken({ counted: [60, 59, 60] }), ["C3"]);
  assert.deepEqual(broken({ counted: [60, 61, 60] }), ["C3"]);
  assert.deepEqual(broken({ counted: [] }), ["C3"]);
  assert.deepEqual(broken({ unequal: 1 }), ["C4"]);
  assert.deepEqual(broken({ after: new Map([["a", "[2]"]]) }), ["C5"]);
  assert.deepEqual(broken({ before: new Map(), after: new Map() }), ["C5"]);
  assert.deepEqual(broken({ podsOff: 1 }), ["C6"]);
});

test("clock: a wall clock that is set wrong is wrong in a process, and its other clocks are not", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-clock-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  using clock = createWallClock({ shim: buildWallClock(), folder, machine: "n1" });
  const program = "console.log(Date.now(), Number(process.hrtime.bigint() / 1000000n))";
  const asked = () => {
    const { stdout, stderr } = spawnSync(process.execPath, ["-e", program], {
      env: { ...process.env, ...clock.env },
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    const [wallMs = 0, steadyMs = 0] = stdout.split(" ").map(Number);
    return { wrongMs: wallMs - Date.now(), steadyMs: steadyMs - performance.now() };
  };
  const nearMs = 30_000;
  const { steadyMs } = asked();
  for (const offsetMs of [0, 31_536_000_000, -Date.now(), -3_600_000]) {
    clock.set(offsetMs);
    const seen = asked();
    assert.ok(Math.abs(seen.wrongMs - offsetMs) < nearMs, `${seen.wrongMs} for ${offsetMs}`);
    assert.ok(Math.abs(seen.steadyMs - steadyMs) < nearMs);
  }
});

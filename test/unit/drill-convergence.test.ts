/** What `convergence` concludes of its rounds, whatever they end by. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { DrillOptions } from "../../src/drill/drill.ts";
import { playRounds } from "../../src/drill/scripts/convergence.ts";
import { Violation } from "../../src/drill/simulated/convergence/violation.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";

async function play(simulate: (seed: number) => Promise<number>) {
  const clock = createSimulatedClock();
  const told: string[] = [];
  const options = {
    ...{ seed: 7, forMs: 3000, clock, signal: new AbortController().signal },
    progress: (text: string) => void told.push(text),
  } as Partial<DrillOptions> as DrillOptions;
  const report = await playRounds(options, {
    async streams(seed) {
      await clock.advance(1000);
      return await simulate(seed);
    },
  });
  const broken = report.promises.filter(({ ok }) => !ok).map(({ id }) => id);
  return { report, broken, told };
}

test("convergence: rounds without a finding keep every promise", async () => {
  const { report, broken } = await play(async () => 5);
  assert.deepEqual([report.ok, broken, report.data.acknowledged], [true, [], 15]);
});

test("convergence: what a checker found breaks its promise, and names the round", async () => {
  const { report, broken, told } = await play(async (seed) => {
    if (seed === 8) throw new Violation("lost", "an entry is gone");
    return 1;
  });
  assert.deepEqual([report.ok, broken, report.data.lost], [false, ["C3"], 1]);
  assert.match(told.join(), /--seed 8 /);
});

test("convergence: an error that is no finding of a checker breaks a promise too, and names the round", async () => {
  const { report, broken, told } = await play(async (seed) => {
    if (seed === 8) throw new TypeError("undefined is not a function");
    return 1;
  });
  assert.deepEqual([report.ok, broken, report.data.acknowledged], [false, ["C9"], 2]);
  assert.match(report.faults[0]?.fault ?? "", /streams, seed 8: .*not a function/);
  assert.match(told.join(), /--seed 8 /);
});

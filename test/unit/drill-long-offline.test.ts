import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createNumberTally } from "../../src/drill/checkers/numbers.ts";
import { backlogPromises, type BacklogSeen } from "../../src/drill/scripts/long-offline-verdict.ts";
import { notMeasured } from "../../src/drill/scripts/verdict.ts";

const numbers = { found: 4_000_100, lost: 0, duplicated: 0, strange: 0, examples: [] };
const probes = { sent: 100, failures: [], p99Ms: 40 };
const good: BacklogSeen = { acknowledged: 4_000_000, numbers, caughtUpMs: 20_000, probes };
const broken = (more: Partial<BacklogSeen>, { forMs = 60_000, slowness = 1 } = {}) =>
  backlogPromises({ ...good, ...more }, { forMs, slowness })
    .filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("long-offline: each promise breaks by what it is about, and by what was not measured", () => {
  assert.deepEqual(broken({}), []);
  assert.deepEqual(broken({ acknowledged: 599_999, caughtUpMs: 9000 }), ["O1"]);
  assert.deepEqual(broken({ acknowledged: 599_999, caughtUpMs: 9000 }, { slowness: 2 }), []);
  assert.deepEqual(broken({}, { forMs: 401_000 }), ["O1"]);
  assert.deepEqual(broken({ numbers: { ...numbers, lost: 1 } }), ["O2"]);
  assert.deepEqual(broken({ numbers: { ...numbers, duplicated: 1 } }), ["O3"]);
  assert.deepEqual(broken({ numbers: { ...numbers, strange: 1 } }), ["O3"]);
  assert.deepEqual(broken({ numbers: { failure: "ECONNREFUSED" } }), ["O2", "O3"]);
  assert.deepEqual(broken({ caughtUpMs: 66_668 }), ["O4"]);
  assert.deepEqual(broken({ caughtUpMs: notMeasured }), ["O4"]);
  assert.deepEqual(broken({ probes: { ...probes, p99Ms: 601 } }), ["O5"]);
  assert.deepEqual(broken({ probes: { ...probes, p99Ms: notMeasured } }), ["O5"]);
  assert.deepEqual(broken({ probes: { ...probes, failures: ["503"] } }), ["O6"]);
  assert.deepEqual(broken({ probes: { sent: 0, failures: [], p99Ms: 1 } }), ["O6"]);
});

test("numbers: a loss and a double that make up for each other in a count are both found", () => {
  const tally = createNumberTally([
    { given: [0, 1000], unknown: [] },
    { given: [5000, 5010], unknown: [] },
  ]);
  for (let number = 0; number < 1000; number++) tally.note(number === 700 ? 9 : number);
  for (let number = 5000; number < 5010; number++) tally.note(number);
  assert.deepEqual(tally.findings(), {
    ...{ found: 1009, lost: 1, duplicated: 1, strange: 0 },
    examples: ["lost 700", "duplicated 9"],
  });
});

test("numbers: what nobody acknowledged may be missing, and may not be there twice", () => {
  const tally = createNumberTally([
    {
      given: [10, 30],
      unknown: [
        [25, 30],
        [10, 20],
      ],
    },
  ]);
  for (const number of [12, 12, 20, 21, 22, 23, 29]) tally.note(number);
  const { lost, duplicated, examples } = tally.findings();
  assert.deepEqual([lost, duplicated], [1, 1]);
  assert.deepEqual(examples, ["lost 24", "duplicated 12"]);
});

test("numbers: entries that nobody wrote are strange, and so are those without a number", () => {
  const tally = createNumberTally([{ given: [10, 12], unknown: [] }]);
  for (const number of [10, 11, 12, 9, -1, 10.5, "10", null, undefined]) tally.note(number);
  const { found, strange, examples } = tally.findings();
  assert.deepEqual([found, strange, examples.length], [2, 7, 5]);
});

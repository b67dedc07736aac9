/** A few seeds of what `skerry drill convergence` runs for hours; and its checkers find planted faults. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { simulateDocuments } from "../../src/drill/simulated/convergence/documents.ts";
import type { SimulatedCell } from "../../src/drill/simulated/convergence/documents-cell.ts";
import { simulateStreams } from "../../src/drill/simulated/convergence/streams.ts";
import { Violation } from "../../src/drill/simulated/convergence/violation.ts";

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`M1, M2, M7, M8, M14, M15: documents converge with their causes, nothing lost, seed ${seed}`, async () => {
    let adopted = 0;
    const watch = (cell: SimulatedCell) => ({
      step() {},
      heal() {},
      isSettled: true,
      check() {
        ({ adopted } = cell);
      },
    });
    assert.ok((await simulateDocuments(seed, "none", watch)) > 20);
    // Every fourth seed keeps its logs.
    assert.equal(adopted > 0, seed % 4 !== 0);
  });
  test(`D2, D3, D4, D6, D7, P1: streams converge, each entry once, seed ${seed}`, async () => {
    assert.ok((await simulateStreams(seed)) > 20);
  });
}

// A checker that forgot those who left broke it.
test("D6: who acknowledged an entry and left the cell for good had it then, seed 28", async () => {
  assert.ok((await simulateStreams(28)) > 20);
});
// A cell that told nobody who had left broke it.
test("D6: who left the cell for good counts for no resend after that, seed 36", async () => {
  assert.ok((await simulateStreams(36)) > 20);
});

// By seeds that find them early: stores that never settle take the longest to be told apart.
for (const [planted, found, planting] of [
  ["lost-row", ["cause", "differs", "lost"], [3, 4, 5, 6]],
  ["lost-operation", ["differs", "lost", "twice"], [3, 4, 6]],
  ["no-waiting", ["cause", "differs", "lost"], [3, 4, 6]],
  ["snapshot-ahead", ["cause", "lost"], [2]],
  ["snapshot-hole", ["cause", "differs", "lost"], [1, 2, 3]],
  ["snapshot-without-context", ["differs"], [1, 2, 3]],
] as const) {
  test(`the checkers find a planted fault: ${planted}`, () =>
    finds(found, planting, (seed) => simulateDocuments(seed, planted)));
}

for (const [planted, found, planting] of [
  ["lost-entry", ["cause"], [1]],
  ["doubled-entry", ["cause", "claimed", "twice"], [1, 2]],
  ["position-twice", ["cause", "claimed", "twice"], [3]],
  ["changed-body", ["differs"], [1, 2]],
  ["claims", ["claimed"], [1, 2]],
  ["lost-transactions", ["lost", "unsettled"], [1, 5, 15, 16, 21]],
  ["hub-hole", ["differs"], [1, 3]],
  ["hub-doubled", ["twice"], [1, 2]],
] as const) {
  test(`the checkers of streams find a planted fault: ${planted}, as ${found.join()}`, () =>
    finds(found, planting, (seed) => simulateStreams(seed, planted)));
}

/** One of the seeds ends by a finding of one of these kinds, and none by another one. */
async function finds(
  kinds: readonly string[],
  seeds: readonly number[],
  simulate: (seed: number) => Promise<number>,
): Promise<void> {
  for (const seed of seeds) {
    const failure = await simulate(seed).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (failure === undefined) continue;
    assert.ok(failure instanceof Violation, String(failure));
    assert.ok(kinds.includes(failure.kind), failure.message);
    return;
  }
  assert.fail("nothing was found");
}

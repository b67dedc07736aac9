/** A few seeds of what `skerry drill convergence` runs for hours; and its checkers find planted faults. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { simulateDocuments } from "../../src/drill/simulated/convergence/documents.ts";
import { simulateStreams } from "../../src/drill/simulated/convergence/streams.ts";
import { Violation } from "../../src/drill/simulated/convergence/violation.ts";

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`M1, M2, M7, M8: documents converge with their causes, nothing lost, seed ${seed}`, async () => {
    assert.ok((await simulateDocuments(seed)) > 20);
  });
  test(`D3, D4, D6, P1: streams converge, each entry once, seed ${seed}`, async () => {
    assert.ok((await simulateStreams(seed)) > 20);
  });
}

for (const [planted, found] of [
  ["lost-row", ["differs", "lost"]],
  ["lost-operation", ["differs", "lost"]],
  ["no-waiting", ["cause", "differs", "lost"]],
] as const) {
  test(`the checkers find a planted fault: ${planted}`, async () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const failure = await simulateDocuments(seed, planted).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) continue;
      assert.ok(failure instanceof Violation, String(failure));
      assert.ok((found as readonly string[]).includes(failure.kind), failure.message);
      return;
    }
    assert.fail("nothing was found");
  });
}

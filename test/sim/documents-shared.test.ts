/** The simulation of documents that hub and cells write; and its checkers find planted faults. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  simulateShared,
  type SharedPlanted,
} from "../../src/drill/simulated/convergence/shared-documents.ts";
import { Violation } from "../../src/drill/simulated/convergence/violation.ts";

const seeds = process.env["DOCUMENTS_SHARED_SEED"]
  ? [Number(process.env["DOCUMENTS_SHARED_SEED"])]
  : [1, 2, 3, 4];

for (const seed of seeds) {
  test(`M13, M18: hub and cells are equal in the end, and no cell had what was not for it, seed ${seed} (DOCUMENTS_SHARED_SEED=${seed})`, async () => {
    assert.ok((await simulateShared(seed)) > 10);
  });
}

for (const [planted, found] of [
  ["no-filter", "leaked"],
  ["lost-piece", "lost"],
] as const satisfies readonly (readonly [SharedPlanted, string])[]) {
  test(`the checkers find a planted fault of hub and cells: ${planted}`, async () => {
    for (const seed of [1, 2, 3]) {
      const failure = await simulateShared(seed, planted).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) continue;
      assert.ok(failure instanceof Violation, String(failure));
      if (failure.kind === found) return;
    }
    assert.fail("nothing was found");
  });
}

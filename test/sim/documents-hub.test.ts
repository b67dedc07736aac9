/** The simulation of documents with a hub beside it; and its checkers find planted faults. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { simulateDocuments } from "../../src/drill/simulated/convergence/documents.ts";
import { Violation } from "../../src/drill/simulated/convergence/violation.ts";
import { besideHub } from "../support/documents-uplinks.ts";

const seeds = process.env["DOCUMENTS_HUB_SEED"]
  ? [Number(process.env["DOCUMENTS_HUB_SEED"])]
  : [3, 5];

for (const seed of seeds) {
  test(`M10, M11, M12, M13, D6: the hub has what the cell has, less what stays, and the cell what is for it, seed ${seed} (DOCUMENTS_HUB_SEED=${seed})`, async () => {
    assert.ok((await simulateDocuments(seed, "none", besideHub())) > 20);
  });
}

for (const [planted, found, planting] of [
  // By the log alone: documents as they are bring what operations did not.
  ["no-seen", ["differs", "cause"], [84, 64, 10]],
  ["claims", ["claimed"], [1, 2, 3]],
] as const) {
  test(`the checkers find a planted fault at the hub: ${planted}`, async () => {
    for (const seed of planting) {
      const failure = await simulateDocuments(seed, "none", besideHub(planted)).then(
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

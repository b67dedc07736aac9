/** The simulation of documents that are deleted for their age; and its checker finds a planted fault. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { RetentionFault, simulateRetention } from "../support/documents-retention.ts";

const given = process.env["DOCUMENTS_RETENTION_SEED"];
const seeds = given ? [Number(given)] : [1, 2, 3, 4];

for (const seed of seeds)
  test(`M5, M19, M20: nothing is deleted before its time, and all is gone afterwards, seed ${seed} (DOCUMENTS_RETENTION_SEED=${seed})`, async (t) => {
    const tally = await simulateRetention(seed);
    t.diagnostic(JSON.stringify(tally));
    assert.ok(tally.deleted > 3 && tally.cleared > 0, JSON.stringify(tally));
  });

test("the checker finds documents that grow old by the time of day", async () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const failure = await simulateRetention(seed, "ages-by-day").then(
      () => undefined,
      (error: unknown) => error,
    );
    if (failure === undefined) continue;
    assert.ok(failure instanceof RetentionFault, String(failure));
    assert.equal(failure.kind, "early", failure.message);
    return;
  }
  assert.fail("nothing was found");
});

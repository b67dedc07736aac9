/** The quick drill, short and seeded: its promises hold under the faults it injects. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { runDrill } from "../support/site.ts";

// A shared machine: an eighth of the load, eight times the time for an answer or a replacement. What is
// counted (entries lost or doubled, requests failed, pods changed) is as strict as ever.
test("drill quick --for 20s --slow 8: every promise holds, nothing acknowledged is lost or doubled", async (t) => {
  const report = await runDrill(t, "quick --for 20s --slow 8 --seed 3");
  // Where a namespace can be made, machines are lost as well.
  const ids = report.promises.map(({ id }) => id);
  assert.equal(ids.includes("R1") && ids.includes("S1"), process.getuid?.() === 0);
  assert.ok(report.data.acknowledged > 0);
  assert.deepEqual([report.data.lost, report.data.duplicated], [0, 0]);
});

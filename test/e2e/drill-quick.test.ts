/** The quick drill, short and seeded: its promises hold under the faults it injects. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { startSkerry } from "../support/site.ts";

type Report = {
  ok: boolean;
  promises: {
    ok: boolean;
    id: string;
    text: string;
    unit: string;
    measured: number;
    limit: number;
  }[];
  data: { acknowledged: number; lost: number; duplicated: number };
};

test("drill quick --for 20s: every promise holds, nothing acknowledged is lost or doubled", async (t) => {
  const drill = startSkerry(["drill", "quick", "--for", "20s", "--seed", "3", "--json"], {
    timeoutMs: 150_000,
  });
  // The drill takes its site down itself when it is asked to stop.
  t.after(async () => {
    drill.kill("SIGINT");
    await drill.done;
  });
  const { code, stdout, stderr } = await drill.done;
  const report = JSON.parse(stdout.trim().split("\n").at(-1) || "{}") as Report;
  // The tests hold no stopwatch: how fast something is back is the drill's own exit code, on a
  // machine that does nothing else. That it comes back at all is held here.
  const broken = (report.promises ?? []).filter(({ ok, unit, measured, limit }) =>
    unit === "ms" ? measured > limit * 5 : !ok,
  );
  assert.deepEqual(broken, [], stderr);
  assert.equal(code, report.ok ? 0 : 1, stderr);
  assert.ok(report.promises.length > 5);
  assert.ok(report.data.acknowledged > 0);
  assert.deepEqual([report.data.lost, report.data.duplicated], [0, 0]);
});

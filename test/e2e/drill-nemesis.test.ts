/** The nemesis, short and seeded: no violation is found, and nothing is left behind. */
import { strict as assert } from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { runDrill } from "../support/site.ts";

const left = () => ({
  namespaces: namesIn("/run/netns").filter((name) => name.startsWith("skerry-drill.")),
  mounts: readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes("skerry-drill-")),
});

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

test("DR8: drill nemesis --for 15s --slow 8: histories under faults are proved, and nothing stays behind", async (t) => {
  assert.equal(process.getuid?.(), 0, "links are cut as root, which CI gives");
  const before = left();
  const report = await runDrill(t, "nemesis --for 15s --slow 8 --seed 370");
  assert.ok(report.faults.length > 0);
  const after = left();
  assert.deepEqual(
    after.namespaces.filter((name) => !before.namespaces.includes(name)),
    [],
  );
  assert.deepEqual(after.mounts, []);
});

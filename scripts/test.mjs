// Runs the checks, then every test file (or those named) with Node's test runner. Node 24.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";

const named = process.argv.slice(2);
const files = (named.length > 0 ? named : ["test/**/*.test.ts"]).flatMap((pattern) => {
  const found = globSync(pattern).sort();
  if (found.length > 0) return found;
  // Node's runner passes over a file that is not there, and a run of nothing would look green.
  console.error(`test: no file is named ${pattern}`);
  process.exit(2);
});
// Each of these starts a whole site: two at a time on a small machine would test the machine.
const isWholeSite = (file) => file.startsWith("test/e2e/");

if (named.length === 0) {
  const checks = spawnSync(process.execPath, ["scripts/check.mjs"], { stdio: "inherit" });
  if (checks.status !== 0) process.exit(1);
}
const passed = [
  run(
    files.filter((file) => !isWholeSite(file)),
    { concurrency: 2 },
  ),
  run(files.filter(isWholeSite), { concurrency: 1 }),
];
process.exit(passed.every(Boolean) ? 0 : 1);

function run(some, { concurrency }) {
  if (some.length === 0) return true;
  const { status } = spawnSync(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      "--test",
      `--test-concurrency=${concurrency}`,
      "--test-timeout=300000",
      `--test-reporter=${process.stdout.isTTY ? "spec" : "./scripts/reporter.mjs"}`,
      "--test-reporter-destination=stdout",
      ...some,
    ],
    { stdio: "inherit" },
  );
  return status === 0;
}

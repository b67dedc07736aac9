// Runs the checks, then every test file (or those named) with Node's test runner. Node 24.
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";

const named = process.argv.slice(2);
const files = named.length > 0 ? named : globSync("test/**/*.test.ts").sort();

if (named.length === 0) {
  const checks = spawnSync(process.execPath, ["scripts/check.mjs"], { stdio: "inherit" });
  if (checks.status !== 0) process.exit(1);
}
const { status } = spawnSync(
  process.execPath,
  [
    "--disable-warning=ExperimentalWarning",
    "--test",
    "--test-concurrency=2",
    "--test-timeout=300000",
    `--test-reporter=${process.stdout.isTTY ? "spec" : "./scripts/reporter.mjs"}`,
    "--test-reporter-destination=stdout",
    ...files,
  ],
  { stdio: "inherit" },
);
process.exit(status ?? 1);

// `npm run check`: format, lint, types, structure. Stops at the first that fails.
import { spawnSync } from "node:child_process";

const steps = [
  ["format", "oxfmt", ["--check", "src", "test", "bench", "scripts", "bin"]],
  ["lint", "oxlint", ["--deny-warnings"]],
  ["types", "tsc", ["-p", "tsconfig.json"]],
  ["structure", "node", ["--test", "--test-reporter=dot", "test/tidy.test.ts"]],
];
for (const [name, command, args] of steps) {
  console.log(`check: ${name}`);
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) {
    console.error(
      `check: ${name} failed${name === "format" ? "; mend it with: npm run format" : ""}`,
    );
    process.exit(1);
  }
}

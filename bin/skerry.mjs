#!/usr/bin/env node
// The `skerry` command. Plain JavaScript that starts on Node 20, so that an older Node gets the
// sentence it needs instead of a syntax error; everything else runs on Node 24.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const packageRoot = dirname(here);
const source = join(packageRoot, "src", "cli", "main.entry.ts");
const built = join(packageRoot, "dist", "cli", "main.entry.js");
const entry = existsSync(source) && !process.env.SKERRY_DIST ? source : built;
const bundledNode = join(packageRoot, "node_modules", "node", "bin", "node");

const major = Number(process.versions.node.split(".")[0]);
if (major >= 24) {
  process.removeAllListeners("warning");
  const { enableCompileCache } = await import("node:module");
  enableCompileCache?.();
  await import(entry);
} else if (existsSync(bundledNode)) {
  const child = spawn(bundledNode, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  // The terminal sends Ctrl-C to the whole group: the child decides, this process only waits.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT") child.kill(signal);
    });
  }
  child.on("exit", (code, signal) => {
    if (signal) process.kill(process.pid, signal);
    else process.exit(code ?? 1);
  });
} else {
  console.error(`skerry needs Node 24 or newer; this is Node ${process.versions.node}.`);
  console.error(
    "In a checkout run: npm ci   (it brings Node 24 along). Elsewhere install Node 24: https://nodejs.org",
  );
  process.exit(2);
}

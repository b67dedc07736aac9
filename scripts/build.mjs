// `npm run build`: compiles src/ to dist/ (or to the folder given) for the published package.
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, "dist"));
const compiler = join(root, "node_modules", ".bin", "tsc");

// What an earlier version compiled must not stay behind.
rmSync(out, { recursive: true, force: true });
const compile = (project) =>
  spawnSync(compiler, ["-p", project, "--outDir", out], { cwd: root, stdio: "inherit" });
let { status, error } = compile("tsconfig.build.json");
// Types for programs that import skerry/client.
if (status === 0) ({ status, error } = compile("tsconfig.client.json"));
if (error) console.error(`build: ${error.message}; mend it with: npm ci`);
// Built with cc on the machine where the drills run that need them.
const faults = join("drill", "faults");
const programs = readdirSync(join(root, "src", faults)).filter((name) => name.endsWith(".c"));
if (status === 0)
  for (const name of programs)
    copyFileSync(join(root, "src", faults, name), join(out, faults, name));
process.exit(status ?? 1);

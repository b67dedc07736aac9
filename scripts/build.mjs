// `npm run build`: src/ to dist/ (or to the folder given) for the published package.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { bundle } from "./bundle.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, "dist"));

// What an earlier version built must not stay behind.
rmSync(out, { recursive: true, force: true });
await bundle({ root, out });
// Types for programs that import skerry/client.
const compiler = join(root, "node_modules", ".bin", "tsc");
const { status, error } = spawnSync(compiler, ["-p", "tsconfig.client.json", "--outDir", out], {
  cwd: root,
  stdio: "inherit",
});
if (error) console.error(`build: ${error.message}; mend it with: npm ci`);
// Built with cc on the machine where the drills run that need them.
const faults = join("drill", "faults");
mkdirSync(join(out, faults), { recursive: true });
for (const name of readdirSync(join(root, "src", faults)).filter((file) => file.endsWith(".c")))
  copyFileSync(join(root, "src", faults, name), join(out, faults, name));
process.exit(status ?? 1);

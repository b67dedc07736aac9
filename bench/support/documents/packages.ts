/** Peers from the npm registry, installed once beside this package's own modules and never with it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CannotRun } from "../bench.ts";

const cache = join(import.meta.dirname, "../../../node_modules/.cache/skerry-bench");

/** The folder in which `versions` are installed. Throws CannotRun when npm cannot fetch them. */
export function installPeers(
  versions: Readonly<Record<string, string>>,
  progress: (text: string) => void,
): string {
  const wanted = Object.entries(versions).map(([name, version]) => `${name}@${version}`);
  const folder = join(cache, wanted.join("_").replaceAll("/", "-"));
  if (existsSync(folder)) return folder;
  progress(`installing ${wanted.join(", ")}`);
  const fresh = `${folder}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  writeFileSync(join(fresh, "package.json"), JSON.stringify({ private: true }));
  const { status, stderr } = spawnSync(
    "npm",
    ["install", "--no-audit", "--no-fund", "--loglevel=error", ...wanted],
    { cwd: fresh, encoding: "utf8" },
  );
  if (status !== 0)
    throw new CannotRun(`npm cannot install ${wanted.join(", ")}: ${stderr?.trim() ?? ""}`);
  renameSync(fresh, folder);
  return folder;
}

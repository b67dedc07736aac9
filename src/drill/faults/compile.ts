/** Builds one of the C programs here with the host's compiler, once for each version of its source. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SkerryError } from "../../lib/errors.ts";
import { environment } from "../../runtime/process/index.ts";

const warnings = ["-O2", "-Wall", "-Wextra"];
const hint = "apt-get install -y --no-install-recommends gcc libc6-dev";

/**
 * Path of what was built. `what` needs it, for whoever has no compiler. Throws `tool-missing` where
 * there is no `cc`, `drill-step-failed` with what it said.
 */
export function compile(
  source: URL,
  options: {
    readonly what: string;
    readonly flags: readonly string[];
    readonly libraries?: readonly string[];
  },
): string {
  const path = fileURLToPath(source);
  const hash = createHash("sha256").update(readFileSync(path)).digest("hex").slice(0, 16);
  const home = environment["XDG_CACHE_HOME"] ?? join(environment["HOME"] ?? tmpdir(), ".cache");
  const folder = join(home, "skerry");
  const built = join(folder, `${basename(path, ".c")}-${hash}`);
  if (existsSync(built)) return built;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Several may build at once: each its own file, and the last name is as good as the first.
  const own = `${built}.${process.pid}`;
  const { error, status, stderr } = spawnSync(
    "cc",
    [...warnings, ...options.flags, "-o", own, path, ...(options.libraries ?? [])],
    { encoding: "utf8" },
  );
  if (error) {
    throw new SkerryError({
      code: "tool-missing",
      message: `${options.what} needs the C compiler cc, which is not on this host`,
      hint,
      cause: error,
    });
  }
  if (status !== 0) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `cc could not build ${basename(path)}: ${stderr.trim().slice(-2000)}`,
      hint,
    });
  }
  renameSync(own, built);
  return built;
}

/** Builds `power-cut-shim.c` with the host's C compiler, once for each version of its source. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SkerryError } from "../../lib/errors.ts";
import { environment } from "../../runtime/process/index.ts";

const source = fileURLToPath(new URL("./power-cut-shim.c", import.meta.url));
const flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-pthread"];

/** Path of the shared object. Throws `tool-missing` where there is no `cc`, `drill-step-failed` with what it said. */
export function buildShim(): string {
  const hash = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 16);
  const home = environment["XDG_CACHE_HOME"] ?? join(environment["HOME"] ?? tmpdir(), ".cache");
  const folder = join(home, "skerry");
  const built = join(folder, `power-cut-${hash}.so`);
  if (existsSync(built)) return built;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Several may build at once: each its own file, and the last name is as good as the first.
  const own = `${built}.${process.pid}`;
  const { error, status, stderr } = spawnSync("cc", [...flags, "-o", own, source, "-ldl"], {
    encoding: "utf8",
  });
  if (error) {
    throw new SkerryError({
      code: "tool-missing",
      message: "a power cut needs the C compiler cc, which is not on this host",
      hint: "apt-get install -y --no-install-recommends gcc libc6-dev",
      cause: error,
    });
  }
  if (status !== 0) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `cc could not build the power-cut shim: ${stderr.trim().slice(-2000)}`,
      hint: "apt-get install -y --no-install-recommends gcc libc6-dev",
    });
  }
  renameSync(own, built);
  return built;
}

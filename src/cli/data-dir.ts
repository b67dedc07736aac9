/** Which data folder a command means when nobody says so. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Context } from "./context.ts";

/** Where `skerry demo` keeps its site, under the current folder. */
export const demoDir = (context: Context) => resolve(context.cwd, ".skerry", "demo");

const systemDir = "/var/lib/skerry";

/** Flag, then SKERRY_DATA, then the machine's own, then the first node of a demo in this folder. */
export function dataDirOf(flag: string | undefined, context: Context): string {
  const given = flag ?? context.env["SKERRY_DATA"];
  if (given !== undefined) return resolve(context.cwd, given);
  const demoNode = join(demoDir(context), "n1");
  return !existsSync(join(systemDir, "node.json")) && existsSync(join(demoNode, "node.json"))
    ? demoNode
    : systemDir;
}

export const dataFlag = "--data <dir>";
export const dataFlagText =
  "data folder (default: $SKERRY_DATA, /var/lib/skerry, or the demo's first node)";

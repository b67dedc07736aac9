/** Power cuts over the parts as a process of its own. Arguments: configuration file, result file. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { roomyFolder } from "../../faults/power-cut.ts";
import { runCuts, type CutsOptions, type CutsResult } from "./cuts.ts";

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as Omit<CutsOptions, "dir">;
const dir = mkdtempSync(join(roomyFolder(), "skerry-cuts-"));
try {
  const result: CutsResult = await runCuts({ ...config, dir });
  writeFileSync(resultPath, JSON.stringify(result));
} finally {
  rmSync(dir, { recursive: true, force: true });
}

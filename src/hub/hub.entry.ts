/**
 * A hub in the background: its configuration is the first argument, as JSON; the URL of PostgreSQL,
 * in which a password may stand, comes on standard input.
 */
import { readFileSync } from "node:fs";
import { explain } from "../lib/errors.ts";
import { stopSignal } from "../runtime/process/index.ts";
import { hubConfigSchema } from "./config.ts";
import { runHub } from "./hub.ts";
import { hubLogPath } from "./launch.ts";

try {
  const postgres = readFileSync(0, "utf8");
  const config = hubConfigSchema.parse({
    ...(JSON.parse(process.argv[2] ?? "{}") as object),
    ...(postgres === "" ? {} : { postgres }),
  });
  await runHub(config, {
    signal: stopSignal(),
    onReady: () => undefined,
    // The same file that its standard error goes to, but kept at a bounded size.
    logPath: hubLogPath(config.dataDir),
  });
  process.exit(0);
} catch (error) {
  // The last line of its log is what the command that started it shows.
  console.error(explain(error));
  process.exit(1);
}

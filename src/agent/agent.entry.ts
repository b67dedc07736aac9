/** The agent's process; the keeper starts it. Its only argument is its data folder. */
import { explain } from "../lib/errors.ts";
import { environment, stopSignal, version } from "../runtime/process/index.ts";
import { runAgent } from "./agent.ts";
import { exitCodeOf } from "./exit.ts";
import { readStartConfig } from "./start-config.ts";

try {
  await runAgent({
    config: readStartConfig(process.argv[2] ?? ""),
    version: version(),
    searchPath: environment["PATH"] ?? "/usr/bin:/bin",
    signal: stopSignal(),
  });
  process.exit(0);
} catch (error) {
  // The last line of its log is what the command that started it shows.
  console.error(explain(error));
  process.exit(exitCodeOf(error));
}

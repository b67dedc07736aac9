/** The agent's process; the keeper starts it. Its configuration is the first argument, as JSON. */
import { explain } from "../lib/errors.ts";
import { environment, stopSignal, version } from "../runtime/process/index.ts";
import { agentConfigSchema } from "./config.ts";
import { runAgent } from "./agent.ts";

try {
  const config = agentConfigSchema.parse(JSON.parse(process.argv[2] ?? "{}"));
  await runAgent({
    config,
    version: version(),
    searchPath: environment["PATH"] ?? "/usr/bin:/bin",
    signal: stopSignal(),
  });
  process.exit(0);
} catch (error) {
  // The last line of its log is what the command that started it shows.
  console.error(explain(error));
  process.exit(1);
}

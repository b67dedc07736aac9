/** The agent's process; the keeper starts it. Its only argument is its data folder. */
import { explain } from "../lib/errors.ts";
import { environment, stopSignal, version } from "../runtime/process/index.ts";
import { exitCodeOf } from "./exit.ts";
import { openGround } from "./open-ground.ts";
import { readStartConfig } from "./start-config.ts";

try {
  const signal = stopSignal();
  const config = readStartConfig(process.argv[2] ?? "");
  // Half of what an agent consists of is loaded while its threads start.
  const load = () => import("./agent.ts");
  const opened = await openGround({ config, version: version(), meanwhile: load });
  const { runAgent } = await load();
  await runAgent(opened, { config, searchPath: environment["PATH"] ?? "/usr/bin:/bin", signal });
  process.exit(0);
} catch (error) {
  // The last line of its log is what the command that started it shows.
  console.error(explain(error));
  process.exit(exitCodeOf(error));
}

/** The agent's process; the keeper starts it. Its only argument is its data folder. */
import { explain } from "../lib/errors.ts";
import { environment, stopSignal, version } from "../runtime/process/index.ts";
import { settleOwnHeap } from "../runtime/heap/index.ts";
import { startProxyThread } from "../traffic/thread/index.ts";
import { exitCodeOf } from "./exit.ts";

try {
  const signal = stopSignal();
  // The ingress shall be back soonest: its thread loads while this one does, and this one loads what
  // an ingress needs before everything else.
  const proxyThread = startProxyThread();
  // Whoever waits for it is told; a start that fails before that ends the process with its own reason.
  proxyThread.catch(() => undefined);
  const { readStartConfig } = await import("./start-config.ts");
  const config = readStartConfig(process.argv[2] ?? "");
  const { openGround } = await import("./open-ground.ts");
  const load = () => import("./agent.ts");
  const opened = await openGround({ config, version: version(), proxyThread, meanwhile: load });
  const { runAgent } = await load();
  settleOwnHeap();
  await runAgent(opened, { config, searchPath: environment["PATH"] ?? "/usr/bin:/bin", signal });
  process.exit(0);
} catch (error) {
  // The last line of its log is what the command that started it shows.
  console.error(explain(error));
  process.exit(exitCodeOf(error));
}

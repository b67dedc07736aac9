/** An agent for the keeper's tests: it pings, and ends when told by TERM. `fake-agent.entry.ts DATA` */
import { connectKeeper } from "../../src/keeper/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";

const [dataDir = "", ...flags] = process.argv.slice(2);
process.on("SIGTERM", () => {
  if (!flags.includes("--deaf")) process.exit(0);
});
if (flags.includes("--dies")) process.exit(1);
console.log(`agent ${process.pid} runs`);
await connectKeeper(
  dataDir,
  { clock: systemClock, random: systemRandom, log: silentLog },
  { role: "agent", revive: true },
);

/**
 * The keeper process: `keeper.entry.ts DATA [--no-cgroups] [--log-file-bytes N]`. Started detached by
 * `startKeeper`; its standard error is its log. TERM and INT end it without touching agent or pods:
 * the next keeper adopts them.
 */
import { bootTimeMs, systemClock, systemRandom } from "../runtime/clock/index.ts";
import { defaultLogLimits } from "./containers/logs.ts";
import { runKeeper } from "./keeper.ts";
import { createPlainLog } from "./plain-log.ts";

const [dataDir = "", ...flags] = process.argv.slice(2);
const log = createPlainLog({ clock: systemClock }, { part: "keeper", pid: process.pid });

const numberAfter = (flag: string, otherwise: number) => {
  const at = flags.indexOf(flag);
  return at < 0 ? otherwise : Number(flags[at + 1]);
};

process.on("uncaughtException", (error) => {
  log.error("the keeper failed; pods and agent go on, the agent starts a new keeper", { error });
  process.exit(1);
});
process.on("SIGTERM", () => process.exit(0));
process.on("SIGINT", () => process.exit(0));
// The terminal that started us is no concern of ours.
process.on("SIGHUP", () => {});

const keeper = await runKeeper(
  { clock: systemClock, bootTimeMs, random: systemRandom, log },
  {
    dataDir,
    cgroups: !flags.includes("--no-cgroups"),
    logLimits: {
      fileBytesMax: numberAfter("--log-file-bytes", defaultLogLimits.fileBytesMax),
      filesMax: numberAfter("--log-files", defaultLogLimits.filesMax),
    },
  },
);
if (keeper.state === "running") {
  await keeper.ended;
  process.exit(0);
}
log.info("another keeper lives", { other: keeper.pid });
process.exit(3);

import { InvalidArgumentError, type Command } from "commander";
import { stopNode } from "../../agent/index.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import { stopHub } from "../../hub/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";

export function registerDown(program: Command, context: Context): void {
  program
    .command("down")
    .description(
      "stop what runs in a data folder: drain, then end the agent, its keeper and its pods, or the hub",
    )
    .option(dataFlag, dataFlagText)
    .option("--pods <keep|stop>", "what becomes of this machine's pods", podsChoice, "stop")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry down\n  skerry down --pods keep      before an upgrade: no workload stops",
    )
    .action(async (flags: { data?: string; pods: "keep" | "stop"; json?: boolean }) => {
      const dataDir = dataDirOf(flags.data, context);
      const { clock, random, output } = context;
      const stopped = isHubFolder(dataDir)
        ? await stopHub(dataDir, { clock })
        : await stopNode(dataDir, { clock, random, pods: flags.pods });
      if (flags.json) output.line(JSON.stringify({ dataDir, stopped }));
      else
        output.line(
          stopped ? `stopped what ran in ${dataDir}` : `nothing was running in ${dataDir}`,
        );
    });
}

function podsChoice(value: string): "keep" | "stop" {
  if (value === "keep" || value === "stop") return value;
  throw new InvalidArgumentError('expected "keep" or "stop".');
}

import type { Command } from "commander";
import { planRecover, recoverCell } from "../../agent/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";

type Flags = { data?: string; yes?: boolean; json?: boolean };

export function registerRecover(program: Command, context: Context): void {
  program
    .command("recover")
    .description(
      "a cell that lost the majority of its servers: go on with this one alone, from what it has",
    )
    .option(dataFlag, dataFlagText)
    .option("--yes", "do it; without this nothing is changed, and what would happen is told")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry recover            on each server that is left: how far its members are, and what would be lost\n" +
        "  skerry recover --yes      on the one that is furthest on; then: skerry up\n" +
        "\nOnly where the others do not come back: servers that are merely down need a start, not this.\n" +
        "What the server had is moved aside, never removed. Exit code 2: --yes was not given.",
    )
    .action((flags: Flags) => run(flags, context));
}

async function run(flags: Flags, context: Context): Promise<void> {
  const { output, clock, random, env } = context;
  const dataDir = dataDirOf(flags.data, context);
  const plan = await planRecover({ clock, random }, dataDir);
  if (!flags.json) for (const line of plan.words) output.line(`  - ${line}`);
  if (!flags.yes) {
    throw new SkerryError({
      code: "confirmation-needed",
      message: `nothing was changed in ${dataDir}`,
      hint: "run it again with --yes to go on with this server alone",
      details: { members: plan.members },
    });
  }
  const tell = (step: string) => output.progress(`${step} …`);
  const recovered = await recoverCell({ clock, random, tell, searchPath: env["PATH"] ?? "" }, plan);
  output.endProgress();
  if (flags.json) output.line(JSON.stringify(recovered));
  else {
    const { keys, lastRevision, revision, epoch, aside, node } = recovered;
    output.line(
      `${keys} keys as of the cell's revision ${lastRevision}; its history goes on at ${revision}, epoch ${epoch}`,
    );
    if (aside !== undefined) output.line(`what was here: ${aside}`);
    output.line(
      `next: skerry up --data ${dataDir}   starts ${node}; then skerry server add for each other`,
    );
  }
}

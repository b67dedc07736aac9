import { resolve } from "node:path";
import type { Command } from "commander";
import { agentConfigKeys, agentConfigSchema, examineNodeConfig } from "../../agent/index.ts";
import { examineHubConfig, hubConfigKeys, hubConfigSchema } from "../../hub/index.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import { readGiven, strayVariables } from "../config-source.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; hub?: boolean; json?: boolean };

export function registerConfig(program: Command, context: Context): void {
  const config = program
    .command("config")
    .description("look at the configuration of this machine's node or hub")
    .addHelpText("after", "\nExample:\n  skerry config check /etc/skerry/skerry.yaml");
  config
    .command("check")
    .description(
      "validate flags, environment and yaml without starting: what would hold, where it comes from, what will not work here",
    )
    .argument("[file]", "yaml file (default: $SKERRY_CONFIG, or skerry.yaml in the data folder)")
    .option(dataFlag, dataFlagText)
    .option("--hub", "the configuration of a hub (default: a node's, unless the folder is a hub's)")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nNothing is started or changed; listeners are opened for a moment to see whether they can be.\n" +
        "\nExit codes: 0 valid, with or without warnings; 1 a file cannot be read; 2 not valid.\n" +
        "\nExamples:\n  skerry config check\n  skerry config check ./skerry.yaml --data /var/lib/skerry\n  skerry config check ./hub.yaml --hub --json",
    )
    .action((file: string | undefined, flags: Flags) => check(file, flags, context));
}

async function check(file: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  const given = { data: flags.data, config: file };
  const asHub = flags.hub ?? isHubFolder(dataDirOf(flags.data, context));
  const keys = asHub ? hubConfigKeys : agentConfigKeys;
  const { values, warnings: here } = asHub
    ? await examineHubConfig(readGiven(hubConfigSchema, keys, given, context))
    : await examineNodeConfig(readGiven(agentConfigSchema, keys, given, context));
  const warnings = [...here, ...strayVariables(keys, context)];
  if (flags.json) {
    output.line(JSON.stringify({ kind: asHub ? "hub" : "node", values, warnings }));
    return;
  }
  const rows = values.map(({ key, value, from }) => [key, String(value), from]);
  output.line(renderTable(["KEY", "VALUE", "FROM"], rows, { tabs: !output.isTerminal }));
  for (const warning of warnings) output.note(`warning: ${warning}`);
  const of = file === undefined ? "the configuration" : resolve(context.cwd, file);
  output.note(warnings.length === 0 ? `${of} is valid` : `${of} is valid, but see the warnings`);
}

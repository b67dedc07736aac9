import type { Command } from "commander";
import {
  agentConfigKeys,
  agentConfigSchema,
  followNode,
  startNode,
  stopNode,
  type AgentInfo,
} from "../../agent/index.ts";
import { addConfigFlags, precedenceText, readGiven, type GivenFlags } from "../config-source.ts";
import type { Context } from "../context.ts";

type Flags = GivenFlags & {
  detach?: boolean;
  json?: boolean;
};

export function registerUp(program: Command, context: Context): void {
  const command = program
    .command("up")
    .description("start this machine's agent: found a cell, join one, or go on as before");
  addConfigFlags(command, agentConfigKeys)
    .option("--detach", "return once it is ready instead of staying until Ctrl-C")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `${precedenceText}` +
        "\nCtrl-C stops the agent and leaves its pods running, as `skerry down --pods keep` does; `skerry down` stops its pods too.\n" +
        "\nExamples:\n" +
        "  skerry up --cell shop-12 --node till-1 --host 192.168.8.11\n" +
        "  skerry up --node till-2 --host 192.168.8.12 --join TOKEN --server 192.168.8.11:7445\n" +
        "  skerry up                                    after a reboot: as before",
    )
    .action((flags: Flags) => up(flags, context));
}

async function up(flags: Flags, context: Context): Promise<void> {
  const { detach, json } = flags;
  const { config } = readGiven(agentConfigSchema, agentConfigKeys, flags, context);
  const { output, clock, random } = context;
  const info = await startNode(config, { clock, random, progress: (text) => output.note(text) });
  if (json) output.line(JSON.stringify(info));
  else describe(info, context);
  if (detach) return;
  const stop = context.stop();
  await followNode(config.dataDir, {
    clock,
    random,
    signal: stop,
    onLine: (line) => output.note(line),
  });
  if (stop.aborted) {
    output.note("stopping the agent; its pods go on (stop them with: skerry down)");
    await stopNode(config.dataDir, { clock, random, pods: "keep" });
  }
}

function describe(info: AgentInfo, { output }: Context): void {
  output.line(`${info.node} is up in cell ${info.cell} (${info.role})`);
  output.line(`  API       https://${info.api}`);
  output.line(`  ingress   http://${info.ingress}`);
  output.line(`  gateway   ${info.gateway}`);
  output.line(
    `  MQTT      ${info.mqtt} (mTLS)${info.mqttPlain === undefined ? "" : `, ${info.mqttPlain} (plain)`}`,
  );
  output.line(`  data      ${info.dataDir}`);
}

import { join } from "node:path";
import type { Command } from "commander";
import {
  agentConfigKeys,
  agentConfigSchema,
  examineNodeConfig,
  followNode,
  startNode,
  stopNode,
  type AgentInfo,
} from "../../agent/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isJournal, journalLine } from "../../runtime/systemd/index.ts";
import { addConfigFlags, precedenceText, readGiven, type GivenFlags } from "../config-source.ts";
import type { Context } from "../context.ts";
import { followLog } from "../follow-log.ts";
import { addServiceFlags, handleService, wantsService, type ServiceFlags } from "../service.ts";

type Flags = GivenFlags &
  ServiceFlags & {
    detach?: boolean;
    json?: boolean;
  };

export function registerUp(program: Command, context: Context): void {
  const command = program
    .command("up")
    .description("start this machine's agent: found a cell, join one, or go on as before");
  addServiceFlags(addConfigFlags(command, agentConfigKeys))
    .option("--detach", "return once it is ready instead of staying until Ctrl-C")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `${precedenceText}` +
        "\nCtrl-C stops the agent and leaves its pods running, as `skerry down --pods keep` does; `skerry down` stops its pods too.\n" +
        "\nExamples:\n" +
        "  skerry up --cell shop-12 --node till-1 --host 192.168.8.11\n" +
        "  skerry up --node till-2 --host 192.168.8.12 --join TOKEN --server 192.168.8.11:7445\n" +
        "  skerry up                                    after a reboot: as before\n" +
        "  skerry up --install --cell shop-12 --node till-1 --host 192.168.8.11   at every boot, by systemd",
    )
    .action((flags: Flags) => up(flags, context));
}

async function up(flags: Flags, context: Context): Promise<void> {
  const { detach, json } = flags;
  const loaded = readGiven(agentConfigSchema, agentConfigKeys, flags, context);
  const { config } = loaded;
  const { output, clock, random } = context;
  if (wantsService(flags)) {
    if (!flags.uninstall)
      for (const warning of (await examineNodeConfig(loaded)).warnings)
        output.note(`warning: ${warning}`);
    return handleService("node", flags, { loaded, keys: agentConfigKeys }, context);
  }
  if (!detach && isJournal(1, context.env)) tellJournal(config.dataDir, context);
  const info = await startNode(config, { clock, random, progress: (text) => output.note(text) });
  if (json) output.line(JSON.stringify(info));
  else describe(info, context);
  if (detach) return;
  const ended = await followNode(config.dataDir, {
    clock,
    random,
    signal: context.stop(),
    onLine: (line) => output.note(line),
  });
  if (ended === "lost")
    throw new SkerryError({
      code: "not-running",
      message: `agent and keeper of ${config.dataDir} ended, and nobody asked for it`,
      hint: "start them again: skerry up; their logs stand in logs/ and keeper/ of the folder",
      retryable: true,
    });
  if (ended === "left") {
    output.note("stopping the agent; its pods go on (stop them with: skerry down)");
    await stopNode(config.dataDir, { clock, random, pods: "keep" });
  }
}

/** The agent and the keeper write files, because they outlive this process; the journal gets the lines as well. */
function tellJournal(dataDir: string, context: Context): void {
  for (const path of [join(dataDir, "logs", "agent.log"), join(dataDir, "keeper", "keeper.log")])
    void followLog(path, {
      clock: context.clock,
      signal: context.stop(),
      onLine: (line) => context.output.line(journalLine(line)),
    });
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

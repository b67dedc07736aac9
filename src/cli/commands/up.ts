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
  const progress = (text: string) => output.note(text);
  const ready = async () => {
    const info = await startNode(config, { clock, random, progress });
    if (json) output.line(JSON.stringify(info));
    else describe(info, context);
  };
  if (detach) return ready();
  if (!isJournal(1, context.env)) return ready().then(() => stay(config.dataDir, context));
  const told = new AbortController();
  const telling = tellJournal(config.dataDir, told.signal, context);
  try {
    await ready();
    await stay(config.dataDir, context);
  } finally {
    told.abort();
    await telling;
  }
}

/** Until Ctrl-C, which stops the agent, or until the node was stopped. Throws `not-running` when it was lost. */
async function stay(dataDir: string, context: Context): Promise<void> {
  const { output, clock, random } = context;
  const ended = await followNode(dataDir, {
    clock,
    random,
    signal: context.stop(),
    onLine: (line) => output.note(line),
  });
  if (ended === "lost")
    throw new SkerryError({
      code: "not-running",
      message: `agent and keeper of ${dataDir} ended, and nobody asked for it`,
      hint: "start them again: skerry up; their logs stand in logs/ and keeper/ of the folder",
      retryable: true,
    });
  if (ended === "left") {
    output.note("stopping the agent; its pods go on (stop them with: skerry down)");
    await stopNode(dataDir, { clock, random, pods: "keep" });
  }
}

/** The agent and the keeper write files, because they outlive this process; the journal gets the lines as well. */
async function tellJournal(dataDir: string, signal: AbortSignal, context: Context): Promise<void> {
  const onLine = (line: string) => context.output.line(journalLine(line));
  const paths = [join(dataDir, "logs", "agent.log"), join(dataDir, "keeper", "keeper.log")];
  await Promise.all(paths.map((path) => followLog(path, { clock: context.clock, signal, onLine })));
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

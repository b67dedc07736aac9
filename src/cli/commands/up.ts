import type { Command } from "commander";
import {
  agentConfigSchema,
  followNode,
  startNode,
  stopNode,
  type AgentInfo,
} from "../../agent/index.ts";
import { loadConfig } from "../../runtime/config/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";

type Flags = Record<string, string | boolean | undefined> & {
  data?: string;
  config?: string;
  detach?: boolean;
  json?: boolean;
};

export function registerUp(program: Command, context: Context): void {
  program
    .command("up")
    .description("start this machine's agent: found a cell, join one, or go on as before")
    .option(dataFlag, dataFlagText)
    .option(
      "--config <file>",
      "yaml with the same fields as the flags; flags and SKERRY_* win over it",
    )
    .option("--cell <name>", "first machine: name of the new cell")
    .option("--node <name>", "name of this machine in the cell")
    .option("--host <ip>", "this machine's address; every listener binds it (default 127.0.0.1)")
    .option("--join <token>", "further machines: a token from `skerry token create`")
    .option("--server <host:port>", "further machines: peers port of a server")
    .option("--hub <host:port>", "hub to enrol the cell at")
    .option("--hub-token <token>", "enrol token from `skerry token create` on the hub")
    .option("--api-port <port>", "cell API (default 7443; 0 picks a free one, for all ports)")
    .option("--mesh-port <port>", "mesh between nodes (default 7444)")
    .option("--peers-port <port>", "links between nodes, TCP and UDP (default 7445)")
    .option("--gateway-port <port>", "application gateway (default 7480)")
    .option("--mqtt-port <port>", "MQTT with mTLS (default 8883)")
    .option("--mqtt-plain-port <port>", "plain MQTT for devices without TLS (default: off)")
    .option("--ingress-port <port>", "ingress (default 8080)")
    .option(
      "--telemetry <true|false>",
      "measure this host into the stream `telemetry` (default true)",
    )
    .option(
      "--evict <careful|eager>",
      "servers, in a cell of two: eager replaces the pods of a silent node although it may be the link that failed, so that two copies may run (default careful)",
    )
    .option("--log-level <level>", "debug, info, warn or error (default info)")
    .option("--detach", "return once it is ready instead of staying until Ctrl-C")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nCtrl-C stops the agent and leaves its pods running, as `skerry down --pods keep` does; `skerry down` stops its pods too.\n" +
        "\nExamples:\n" +
        "  skerry up --cell shop-12 --node till-1 --host 192.168.8.11\n" +
        "  skerry up --node till-2 --host 192.168.8.12 --join TOKEN --server 192.168.8.11:7445\n" +
        "  skerry up                                    after a reboot: as before",
    )
    .action((flags: Flags) => up(flags, context));
}

async function up(flags: Flags, context: Context): Promise<void> {
  const { data, config: path, detach, json, ...rest } = flags;
  const config = loadConfig(agentConfigSchema, {
    flags: { ...rest, dataDir: dataDirOf(data, context) },
    env: context.env,
    ...(path === undefined ? {} : { path }),
  });
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

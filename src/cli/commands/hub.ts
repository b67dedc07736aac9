import type { Command } from "commander";
import { hubConfigSchema, runHub, startHub, type HubInfo } from "../../hub/index.ts";
import { loadConfig } from "../../runtime/config/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag } from "../data-dir.ts";

type Flags = {
  data?: string;
  config?: string;
  name?: string;
  host?: string;
  port?: string;
  logLevel?: string;
  detach?: boolean;
  json?: boolean;
};

export function registerHub(program: Command, context: Context): void {
  program
    .command("hub")
    .description("run the cloud side: cells enrol here, send what may leave, and are looked after")
    .option(dataFlag, "data folder (default: $SKERRY_DATA or /var/lib/skerry)")
    .option(
      "--config <file>",
      "yaml with the same fields as the flags; flags and SKERRY_* win over it",
    )
    .option("--name <name>", "name of the hub; its trust domain is NAME.skerry (default hub)")
    .option("--host <ip>", "address it listens on (default 127.0.0.1)")
    .option("--port <port>", "port for cells and for its API (default 9443; 0 picks a free one)")
    .option("--log-level <level>", "debug, info, warn or error (default info)")
    .option("--detach", "return once it is ready instead of staying until Ctrl-C")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry hub --data /srv/skerry-hub --host 203.0.113.5\n  skerry token create --data /srv/skerry-hub --cell shop-12\n  skerry status --data /srv/skerry-hub",
    )
    .action(async (flags: Flags) => {
      const { data, config: path, detach, json, ...rest } = flags;
      const config = loadConfig(hubConfigSchema, {
        flags: { ...rest, dataDir: dataDirOf(data, context) },
        env: context.env,
        ...(path === undefined ? {} : { path }),
      });
      const tell = (info: HubInfo) =>
        context.output.line(
          json
            ? JSON.stringify(info)
            : `hub ${info.name} listens on ${info.address}; data in ${info.dataDir}`,
        );
      if (detach) tell(await startHub(config, { clock: context.clock }));
      else await runHub(config, { signal: context.stop(), onReady: tell });
    });
}

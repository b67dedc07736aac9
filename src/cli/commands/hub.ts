import type { Command } from "commander";
import {
  examineHubConfig,
  hubConfigKeys,
  hubConfigSchema,
  runHub,
  startHub,
  type HubInfo,
} from "../../hub/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { hasPassword } from "../../runtime/postgres/index.ts";
import { addConfigFlags, precedenceText, readGiven, type GivenFlags } from "../config-source.ts";
import type { Context } from "../context.ts";
import { addServiceFlags, handleService, wantsService, type ServiceFlags } from "../service.ts";

type Flags = GivenFlags & ServiceFlags & { detach?: boolean; json?: boolean };

export function registerHub(program: Command, context: Context): void {
  const command = program
    .command("hub")
    .description("run the cloud side: cells enrol here, send what may leave, and are looked after");
  addServiceFlags(addConfigFlags(command, hubConfigKeys))
    .option("--detach", "return once it is ready instead of staying until Ctrl-C")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `${precedenceText}\nExamples:\n` +
        "  skerry hub --data /srv/skerry-hub --host 203.0.113.5\n  skerry hub --data /srv/skerry-hub --postgres postgres://skerry@db.example/skerry --postgres-password-file /etc/skerry/db\n  skerry token create --data /srv/skerry-hub --cell shop-12\n  skerry status --data /srv/skerry-hub",
    )
    .action(async (flags: Flags) => {
      const { detach, json } = flags;
      const loaded = readGiven(hubConfigSchema, hubConfigKeys, flags, context);
      const { config } = loaded;
      if (hasPassword(config.postgres ?? "") && loaded.originByField["postgres"]?.startsWith("--"))
        throw new SkerryError({
          code: "invalid-config",
          message: "postgres: a password in --postgres can be read by everybody on this machine",
          hint: "give the URL by SKERRY_HUB_POSTGRES or skerry.yaml, or the password by --postgres-password-file",
        });
      if (wantsService(flags)) {
        if (!flags.uninstall)
          for (const warning of (await examineHubConfig(loaded)).warnings)
            context.output.note(`warning: ${warning}`);
        return handleService("hub", flags, { loaded, keys: hubConfigKeys }, context);
      }
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

import type { Command } from "commander";
import {
  examineHubConfig,
  hubConfigKeys,
  hubConfigSchema,
  migrateHub,
  runHub,
  startHub,
  type HubConfig,
  type HubInfo,
} from "../../hub/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { systemRandom } from "../../runtime/clock/index.ts";
import type { Loaded } from "../../runtime/config/index.ts";
import { hasPassword } from "../../runtime/postgres/index.ts";
import { addConfigFlags, precedenceText, readGiven, type GivenFlags } from "../config-source.ts";
import type { Context } from "../context.ts";
import { addServiceFlags, handleService, wantsService, type ServiceFlags } from "../service.ts";

type Flags = GivenFlags & ServiceFlags & { detach?: boolean; json?: boolean };

export function registerHub(program: Command, context: Context): void {
  const command = program
    .command("hub")
    // Flags behind `migrate` are its own.
    .enablePositionalOptions()
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
      refuseSpokenPassword(loaded);
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
  registerMigrate(command, context);
}

type MigrateFlags = {
  from: string;
  postgres?: string;
  postgresPasswordFile?: string;
  json?: boolean;
};

function registerMigrate(hub: Command, context: Context): void {
  hub
    .command("migrate")
    .description(
      "move a stopped hub from SQLite into PostgreSQL; run again after a break, it goes on",
    )
    .requiredOption("--from <dir>", "data folder of the hub")
    .option("--postgres <url>", hubConfigKeys.postgres.text)
    .option("--postgres-password-file <file>", hubConfigKeys.postgresPasswordFile.text)
    .option("--json", "the outcome as JSON")
    .addHelpText(
      "after",
      "\nNothing is taken away: hub.db, documents.db and fleet.db stay beside as *.migrated.\n\nExamples:\n  skerry hub migrate --from /srv/skerry-hub --postgres postgres://skerry@db.example/skerry --postgres-password-file /etc/skerry/db",
    )
    .action(async ({ from, postgres, postgresPasswordFile, json }: MigrateFlags) => {
      const { output, clock } = context;
      const given = { data: from, postgres, postgresPasswordFile };
      const loaded = readGiven(hubConfigSchema, hubConfigKeys, given, context);
      refuseSpokenPassword(loaded);
      try {
        const result = await migrateHub(loaded.config, {
          clock,
          random: systemRandom,
          signal: context.stop(),
          onProgress: ({ entries, total }) => output.progress(`${entries} of ${total} entries`),
        });
        output.endProgress();
        const { entries, streams, cells, documents, place, kept, before } = result;
        output.line(
          json
            ? JSON.stringify(result)
            : `${entries} entries in ${streams} streams of ${cells} cells and ${documents} documents are in PostgreSQL at ${place}, counted on both sides${before > 0 ? ` (${before} by a run before)` : ""}; ${kept.join(" and ")} can be deleted\nstart it: skerry hub --data ${from}`,
        );
      } finally {
        output.endProgress();
      }
    });
}

function refuseSpokenPassword({ config, originByField }: Loaded<HubConfig>): void {
  if (!hasPassword(config.postgres ?? "") || !originByField["postgres"]?.startsWith("--")) return;
  throw new SkerryError({
    code: "invalid-config",
    message: "postgres: a password in --postgres can be read by everybody on this machine",
    hint: "give the URL by SKERRY_HUB_POSTGRES or skerry.yaml, or the password by --postgres-password-file",
  });
}

import { InvalidArgumentError, type Command } from "commander";
import { mintLocalToken } from "../../agent/index.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { createJoinToken } from "../local-api.ts";

type Flags = {
  data?: string;
  node?: string;
  cell?: string;
  app?: string;
  server?: boolean;
  ttl: string;
  json?: boolean;
};

export function registerToken(program: Command, context: Context): void {
  const token = program
    .command("token")
    .description("tokens that let machines, cells and applications in")
    .addHelpText("after", "\nExample:\n  skerry token create --node till-2");
  token
    .command("create")
    .description(
      "make a token: to join a node (default), to enrol a cell (on a hub), or for an application",
    )
    .option(dataFlag, dataFlagText)
    .option("--node <name>", "join token for the node of this name only")
    .option("--server", "the machine that joins with it becomes a server of the cell")
    .option("--cell <name>", "on a hub: enrol token for the cell of this name only")
    .option(
      "--app <name>",
      "application token for the gateway and MQTT instead of a join token",
      appName,
    )
    .option("--ttl <duration>", "how long it is good (join tokens: used once)", "1h")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry token create --node till-2            then there: skerry up --node till-2 --join TOKEN --server HOST:7445\n" +
        "  skerry token create --node till-3 --server   one that becomes a server by itself\n" +
        "  skerry token create --data hub --cell shop-12\n" +
        "  skerry token create --app scale-4 --ttl 14d  a bearer token for HTTP, or a password for MQTT",
    )
    .action(async (flags: Flags) => {
      const dataDir = dataDirOf(flags.data, context);
      const made = await create(flags, dataDir, context);
      context.output.line(flags.json ? JSON.stringify(made) : made.token);
    });
}

async function create(
  flags: Flags,
  dataDir: string,
  context: Context,
): Promise<{ token: string; expiresAt?: string }> {
  const ttlMs = parseDurationMs(flags.ttl, "--ttl");
  const onHub = isHubFolder(dataDir);
  if (onHub && (flags.node ?? flags.app ?? flags.server) !== undefined) {
    throw new SkerryError({
      code: "invalid-argument",
      message: "--node, --server and --app: not on a hub",
      hint: "a hub makes enrol tokens: --cell NAME",
    });
  }
  if (!onHub && flags.cell !== undefined) {
    throw new SkerryError({
      code: "invalid-argument",
      message: "--cell: on a hub only",
      hint: "name the hub's folder with --data",
    });
  }
  if (flags.app !== undefined) {
    return createAppToken(dataDir, { app: flags.app, ttl: flags.ttl, ttlMs }, context);
  }
  const token = await createJoinToken(dataDir, {
    name: flags.node ?? flags.cell,
    ttlMs,
    ...(flags.server ? { server: true } : {}),
  });
  return { token };
}

/** Says when it ends where that is not as asked: who has configured a device with it finds out too late. */
function createAppToken(
  dataDir: string,
  { app, ttl, ttlMs }: { app: string; ttl: string; ttlMs: number },
  { clock, output }: Context,
): { token: string; expiresAt: string } {
  const { token, expiresAtMs, isCut } = mintLocalToken(dataDir, {
    subject: `app/${app}`,
    ttlMs,
    clock,
  });
  const expiresAt = new Date(expiresAtMs).toISOString();
  output.note(
    isCut
      ? `good until ${expiresAt}, not for ${ttl}: a token ends with the certificate of the node that made it. In a healthy cell that holds for 15 to 30 days more; make another token before then`
      : `good until ${expiresAt}`,
  );
  return { token, expiresAt };
}

function appName(value: string): string {
  if (/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(value)) return value;
  throw new InvalidArgumentError(
    "expected lower-case letters, digits, dots and dashes, at most 63.",
  );
}

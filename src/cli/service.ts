/** `--install`, `--uninstall` and `--print` of `skerry up` and `skerry hub`. */
import { spawn } from "node:child_process";
import { resolve } from "node:path";
import type { Command } from "commander";
import { SkerryError } from "../lib/errors.ts";
import { exited } from "../runtime/child/index.ts";
import { environmentName, type ConfigKeys, type Loaded } from "../runtime/config/index.ts";
import {
  installService,
  renderService,
  servicePaths,
  systemdBooted,
  uninstallService,
  type RunCommand,
  type ServiceDeps,
  type ServicePlace,
} from "../runtime/systemd/index.ts";
import type { Context } from "./context.ts";

export type ServiceFlags = {
  readonly install?: boolean;
  readonly uninstall?: boolean;
  readonly print?: boolean;
  readonly user?: boolean;
  readonly unit?: string;
  readonly root?: string;
  readonly config?: string;
};

export function addServiceFlags(command: Command): Command {
  return command
    .option("--install", "run it as a systemd service, now and at every boot")
    .option("--uninstall", "stop that service and take it away; data stay, and so do running pods")
    .option("--print", "with --install: show the unit and its settings, write nothing")
    .option("--user", "with --install: for the systemd of this user instead of the machine's")
    .option("--unit <name>", "name of the service (default: skerry, or skerry-hub)")
    .option("--root <dir>", "with --install: into the image of another machine; starts nothing");
}

export const wantsService = (flags: ServiceFlags) =>
  flags.install === true || flags.uninstall === true || flags.print === true;

/**
 * Does what the flags ask. Settings that flags or variables gave become those of the service; what a
 * yaml file says stays there. Throws `invalid-argument`, `systemd-missing`, `unit-foreign`,
 * `systemctl-failed`.
 */
export async function handleService(
  kind: "node" | "hub",
  flags: ServiceFlags,
  given: { loaded: Loaded<{ dataDir: string }>; keys: ConfigKeys },
  context: Context,
): Promise<void> {
  const { output } = context;
  const place = placeOf(kind, flags, context);
  const deps: ServiceDeps = {
    run: runCommand,
    booted: systemdBooted(),
    progress: (text) => output.note(text),
  };
  if (flags.uninstall) {
    const removed = await uninstallService(place, deps);
    output.note(
      removed
        ? "pods that still run are stopped by: skerry down"
        : `there is no ${servicePaths(place).unitFile}`,
    );
    return;
  }
  const { dataDir } = given.loaded.config;
  const config = flags.config ?? (context.env["SKERRY_CONFIG"] || undefined);
  const service = {
    kind,
    dataDir,
    command: [
      process.execPath,
      resolve(process.argv[1] ?? ""),
      ...[kind === "node" ? "up" : "hub", "--data", dataDir],
      ...(config === undefined ? [] : ["--config", resolve(context.cwd, config)]),
    ],
    place,
    variables: variablesOf(given.loaded, given.keys),
  };
  if (flags.print) {
    const { unit, settings } = renderService(service);
    const paths = servicePaths(place);
    output.line(
      `# ${paths.unitFile}\n${unit}\n# ${paths.settingsFile}\n${hidden(settings, given.keys)}`,
    );
    return;
  }
  await installService(service, deps);
  const journal = flags.user ? "journalctl --user" : "journalctl";
  output.note(`look at it with: ${journal} -u ${place.name} -f`);
  if (flags.user) output.note("to run without a login: loginctl enable-linger");
}

function placeOf(kind: "node" | "hub", flags: ServiceFlags, context: Context): ServicePlace {
  const name = flags.unit ?? (kind === "node" ? "skerry" : "skerry-hub");
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(name))
    throw new SkerryError({
      code: "invalid-argument",
      message: `--unit: "${name}" is not allowed, expected letters, digits, _ and -`,
    });
  const home = context.env["HOME"];
  return {
    name,
    root: flags.root === undefined ? "" : resolve(context.cwd, flags.root),
    ...(flags.user && home !== undefined ? { userHome: home } : {}),
  };
}

/** What came from flags and variables, as variables; the folder and the file stand in the command. */
function variablesOf(
  { config, originByField }: Loaded<{ dataDir: string }>,
  keys: ConfigKeys,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config)
      .filter(
        ([field]) => field !== "dataDir" && /^(?:--|SKERRY_)/.test(originByField[field] ?? ""),
      )
      .map(([field, value]) => [environmentName(field, keys[field]), String(value)]),
  );
}

function hidden(settings: string, keys: ConfigKeys): string {
  const secrets = Object.entries(keys).filter(([, { secret }]) => secret);
  return secrets.reduce(
    (text, [field, key]) =>
      text.replace(new RegExp(`^(${environmentName(field, key)}=).*$`, "m"), '$1"********"'),
    settings,
  );
}

const runCommand: RunCommand = async ([file = "", ...args]) => {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  try {
    const { code } = await exited(child);
    return { code: code ?? 1, said };
  } catch (cause) {
    throw new SkerryError({
      code: "tool-missing",
      message: `${file} cannot be run`,
      hint: "install systemd, or let another init system run skerry up",
      cause,
    });
  }
};

/** The flags of a configuration, and reading it from all its sources. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { z } from "zod";
import { nearestNames } from "../lib/nearest.ts";
import {
  environmentName,
  flagOf,
  readConfig,
  type ConfigKey,
  type ConfigKeys,
  type Loaded,
} from "../runtime/config/index.ts";
import type { Context } from "./context.ts";
import { dataDirOf } from "./data-dir.ts";

/** Flags by camelCase name, as the command line's parser gives them. */
export type GivenFlags = Readonly<Record<string, string | boolean | undefined>>;

export const precedenceText =
  "\nFlags win over environment variables (--api-port: SKERRY_API_PORT), these over the file of --config\n" +
  "($SKERRY_CONFIG, or skerry.yaml in the data folder), and that over what an earlier start kept.\n" +
  "Check it without starting: skerry config check. Every key: docs/configuration.md\n";

export function addConfigFlags(command: Command, keys: ConfigKeys): Command {
  for (const [field, key] of Object.entries(keys))
    command.option(`--${flagOf(field, key)} ${key.takes}`, describe(key));
  return command.option("--config <file>", "yaml file (default: $SKERRY_CONFIG, DATA/skerry.yaml)");
}

const describe = ({ text, default: otherwise }: ConfigKey) =>
  otherwise === undefined ? text : `${text} (default: ${otherwise})`;

/** The file that is read when nobody names one: the data folder's own. */
export function configFileOf(
  flags: { config?: string | undefined; data?: string | undefined },
  context: Context,
): string | undefined {
  const given = flags.config ?? (context.env["SKERRY_CONFIG"] || undefined);
  if (given !== undefined) return resolve(context.cwd, given);
  const own = join(dataDirOf(flags.data, context), "skerry.yaml");
  return existsSync(own) ? own : undefined;
}

/** Throws `invalid-config` or `file-unreadable`; the data folder comes out absolute. */
export function readGiven<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  keys: ConfigKeys,
  flags: GivenFlags,
  context: Context,
): Loaded<z.infer<z.ZodObject<Shape>> & { dataDir: string }> {
  const text = (name: string) => {
    const value = flags[name];
    return typeof value === "string" ? value : undefined;
  };
  const path = configFileOf({ config: text("config"), data: text("data") }, context);
  const ofKeys = Object.keys(keys).map((field) => [field, flags[flagName(field, keys[field])]]);
  const { config, originByField } = readConfig(schema, {
    flags: Object.fromEntries(ofKeys) as Readonly<Record<string, unknown>>,
    env: context.env,
    keys,
    defaults: { dataDir: dataDirOf(undefined, { ...context, env: {} }) },
    ...(path === undefined ? {} : { path }),
  });
  const values = config as z.infer<z.ZodObject<Shape>> & { dataDir: string };
  // What stands in a file is meant from there.
  const from =
    path !== undefined && originByField["dataDir"]?.startsWith(`${path}:`)
      ? dirname(path)
      : context.cwd;
  return { config: { ...values, dataDir: resolve(from, values.dataDir) }, originByField };
}

/** `apiPort` as the parser names it; a flag of its own (`data`) is one word. */
const flagName = (field: string, key: ConfigKey | undefined) => key?.flag ?? field;

/** Variables that look like ours and are not: a slip that would be passed over in silence. */
export function strayVariables(keys: ConfigKeys, context: Context): readonly string[] {
  const prefix = "SKERRY_";
  const known = Object.entries(keys).map(([field, key]) =>
    environmentName(field, key).slice(prefix.length),
  );
  return Object.keys(context.env).flatMap((name) => {
    const own = name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
    const nearest = own === undefined || known.includes(own) ? [] : nearestNames(own, known, 1);
    return nearest.map((one) => `${name} is read by nobody; did you mean ${prefix}${one}?`);
  });
}

/**
 * Configuration from flags over `SKERRY_*` environment over a YAML file, checked by one schema. Every
 * value keeps where it came from, and what is wrong is told with that place, the value and what is
 * allowed. Nothing is changed by reading it.
 */
import type { z } from "zod";
import { SkerryError } from "../../lib/errors.ts";
import { nearestNames } from "../../lib/nearest.ts";
import type { ConfigKey, ConfigKeys, Loaded } from "./keys.ts";
import { readYamlFields } from "./yaml-file.ts";

export {
  addressField,
  hostField,
  labelField,
  logLevelField,
  portField,
  shareField,
  switchField,
  textField,
  urlField,
} from "./fields.ts";
export type { ConfigKey, ConfigKeys, Loaded } from "./keys.ts";
export { folderWarnings, resolveInFolder } from "./folder.ts";
export { effectiveValues, type EffectiveValue } from "./effective.ts";

export type ConfigSources = {
  /** Already camelCase; undefined values are ignored. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Empty ones are as good as absent. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly path?: string;
  /** Below all others. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  readonly keys?: ConfigKeys;
};

/** `dataDir` to `data-dir`, unless the key has a flag of its own. */
export const flagOf = (field: string, key?: ConfigKey): string =>
  key?.flag ?? field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** `dataDir` to `SKERRY_DATA_DIR`, unless the key has a variable of its own. */
export const environmentName = (field: string, key?: ConfigKey): string =>
  key?.env ?? `SKERRY_${flagOf(field).replaceAll("-", "_").toUpperCase()}`;

/** As `readConfig`, for who does not ask where values came from. */
export function loadConfig<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  sources: ConfigSources,
): z.infer<z.ZodObject<Shape>> {
  return readConfig(schema, sources).config;
}

/** Throws `file-unreadable`, or `invalid-config` with all that is wrong, the first in the file first. */
export function readConfig<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  sources: ConfigSources,
): Loaded<z.infer<z.ZodObject<Shape>>> {
  const { keys = {}, env = {}, path } = sources;
  const fields = Object.keys(schema.shape);
  const merged: Record<string, unknown> = {};
  const originByField: Record<string, string> = {};
  const take = (values: Readonly<Record<string, unknown>>, origin: (field: string) => string) => {
    for (const [field, value] of Object.entries(values)) {
      if (value === undefined) continue;
      merged[field] = value;
      originByField[field] = origin(field);
    }
  };
  take(sources.defaults ?? {}, () => "default");
  if (path !== undefined) {
    const file = readYamlFields(path);
    take(file.values, (field) => `${path}:${file.lineByField[field] ?? 1}`);
  }
  const inEnv = (field: string) => env[environmentName(field, keys[field])] || undefined;
  take(Object.fromEntries(fields.map((field) => [field, inEnv(field)])), (field) =>
    environmentName(field, keys[field]),
  );
  take(sources.flags ?? {}, (field) => `--${flagOf(field, keys[field])}`);

  const unknown = Object.keys(merged).filter((field) => !fields.includes(field));
  const known = Object.fromEntries(
    Object.entries(merged).filter(([name]) => fields.includes(name)),
  );
  const result = schema.safeParse(known);
  if (result.success && unknown.length === 0) return { config: result.data, originByField };

  const problems = unknown.map((field) => {
    const [nearest] = nearestNames(camelCase(field), fields, 1);
    return told(
      field,
      `unknown${nearest === undefined ? "" : `, did you mean ${nearest}?`}`,
      originByField[field],
    );
  });
  for (const issue of result.error?.issues ?? []) {
    const field = String(issue.path[0] ?? "");
    if (!(field in merged)) problems.push(told(field, "missing", undefined));
    else {
      const shown = keys[field]?.secret ? "a secret" : JSON.stringify(merged[field]);
      const where = issue.path.join(".");
      problems.push(told(where, `${issue.message}, got ${shown}`, originByField[field]));
    }
  }
  throw new SkerryError({
    code: "invalid-config",
    message: problems.join("; "),
    // A value that is wrong says itself what is allowed.
    ...(problems.some((problem) => /: (?:unknown|missing)\b/.test(problem))
      ? { hint: `known fields: ${fields.join(", ")}` }
      : {}),
  });
}

/** `FILE:LINE: field: words` for what stands in a file, `field: words from --flag` otherwise. */
function told(field: string, words: string, origin: string | undefined): string {
  if (origin === undefined) return `${field}: ${words}`;
  return origin.includes(":") && !origin.startsWith("--")
    ? `${origin}: ${field}: ${words}`
    : `${field}: ${words} from ${origin}`;
}

const camelCase = (name: string) =>
  name.replaceAll(/[-_]+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase());

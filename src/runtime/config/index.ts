/** Configuration from flags over `SKERRY_*` environment over a YAML file, checked by one schema. */
import { parse } from "yaml";
import { z } from "zod";
import { SkerryError } from "../../lib/errors.ts";
import { readFileIfExists } from "../files/index.ts";

export type ConfigSources = {
  /** Already camelCase; undefined values are ignored. */
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly path?: string;
};

/** Throws `invalid-config` naming the field, the value, where it came from and what is allowed. */
export function loadConfig<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  sources: ConfigSources,
): z.infer<z.ZodObject<Shape>> {
  const merged: Record<string, unknown> = {};
  const originByField: Record<string, string> = {};
  const take = (values: Readonly<Record<string, unknown>>, origin: (field: string) => string) => {
    for (const [field, value] of Object.entries(values)) {
      if (value === undefined) continue;
      merged[field] = value;
      originByField[field] = origin(field);
    }
  };
  if (sources.path !== undefined) take(readYaml(sources.path), () => sources.path ?? "");
  const fields = Object.keys(schema.shape);
  const fromEnv = Object.fromEntries(
    fields.map((field) => [field, sources.env?.[environmentName(field)]]),
  );
  take(fromEnv, environmentName);
  take(sources.flags ?? {}, (field) => `--${kebab(field)}`);

  const result = schema.safeParse(merged);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.join(".") || (issue && "keys" in issue ? String(issue.keys) : "");
  const top = String(issue?.path[0] ?? field);
  const isMissing = !(top in merged);
  throw new SkerryError({
    code: "invalid-config",
    message: `${field}: ${isMissing ? "missing" : (issue?.message ?? "invalid")}${top in merged ? `, got ${JSON.stringify(merged[top])} from ${originByField[top]}` : ""}`,
    // A value that is wrong says itself what is allowed.
    ...(issue?.code === "unrecognized_keys" || isMissing
      ? { hint: `known fields: ${fields.join(", ")}` }
      : {}),
  });
}

/** `dataDir` to `SKERRY_DATA_DIR`. */
export const environmentName = (field: string) =>
  `SKERRY_${kebab(field).replaceAll("-", "_").toUpperCase()}`;

const kebab = (field: string) => field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function readYaml(path: string): Record<string, unknown> {
  const content = readFileIfExists(path);
  if (content === undefined) {
    throw new SkerryError({
      code: "file-unreadable",
      message: `configuration file ${path} does not exist`,
    });
  }
  let value: unknown;
  try {
    value = parse(content.toString());
  } catch (cause) {
    throw new SkerryError({ code: "invalid-config", message: `${path} is not YAML`, cause });
  }
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new SkerryError({
      code: "invalid-config",
      message: `${path}: expected fields and values at the top`,
    });
  }
  return value as Record<string, unknown>;
}

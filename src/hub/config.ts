/** What a hub needs to know to start; what lasts is kept in `hub.json`. */
import { join } from "node:path";
import { z } from "zod";
import { SkerryError } from "../lib/errors.ts";
import {
  hostField as host,
  labelField as name,
  logLevelField,
  portField as port,
  textField,
  type ConfigKey,
} from "../runtime/config/index.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";
import { withFormat, withoutFormat } from "../runtime/local/index.ts";

export const hubConfigSchema = z.strictObject({
  dataDir: textField,
  name: name.optional(),
  host: host.optional(),
  port: port.optional(),
  logLevel: logLevelField.optional(),
});

export type HubConfig = z.infer<typeof hubConfigSchema>;

/** What people read of each key, in the order of `--help` and docs/configuration.md. */
export const hubConfigKeys: Readonly<Record<keyof HubConfig, ConfigKey>> = {
  dataDir: {
    text: "folder of the hub's data",
    takes: "<dir>",
    default: "/var/lib/skerry",
    flag: "data",
    env: "SKERRY_DATA",
    kept: false,
  },
  name: {
    text: "name of the hub; its trust domain is NAME.skerry",
    takes: "<name>",
    default: "hub",
    kept: true,
  },
  host: { text: "address it listens on", takes: "<ip>", default: "127.0.0.1", kept: true },
  port: {
    text: "port for cells and for its API; 0 picks a free one",
    takes: "<port>",
    default: "9443",
    kept: true,
  },
  logLevel: {
    text: "debug, info, warn or error",
    takes: "<level>",
    default: "info",
    kept: false,
  },
};

const hubRecordSchema = z.strictObject({ name, host, port });
export type HubRecord = z.infer<typeof hubRecordSchema>;

export const hubRecordPath = (dataDir: string) => join(dataDir, "hub.json");

/** Undefined before the first start. Throws `file-torn`, `data-newer` or `invalid-config`. */
export function readHubRecord(dataDir: string): HubRecord | undefined {
  const path = hubRecordPath(dataDir);
  const kept = hubRecordSchema.optional().safeParse(withoutFormat(path, readRecord(path)));
  if (kept.success) return kept.data;
  throw new SkerryError({
    code: "invalid-config",
    message: `${path}: ${kept.error.issues[0]?.message}`,
    hint: "it was written by another version",
  });
}

export function writeHubRecord(dataDir: string, record: HubRecord): void {
  writeRecord(hubRecordPath(dataDir), withFormat(record));
}

/** The record of this start: kept values, overridden by what was given. */
export function resolveHubRecord(config: HubConfig, kept: HubRecord | undefined): HubRecord {
  if (config.name !== undefined && kept && kept.name !== config.name) {
    throw new SkerryError({
      code: "invalid-config",
      message: `name: "${config.name}" was given, but ${config.dataDir} belongs to hub "${kept.name}"`,
      hint: "use another --data folder, or leave the flag out",
    });
  }
  return {
    name: config.name ?? kept?.name ?? "hub",
    host: config.host ?? kept?.host ?? "127.0.0.1",
    port: config.port ?? kept?.port ?? 9443,
  };
}

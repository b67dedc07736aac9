/** What a hub needs to know to start; what lasts is kept in `hub.json`. */
import { join } from "node:path";
import * as z from "zod";
import { parseDurationMs } from "../lib/duration.ts";
import { explain, SkerryError } from "../lib/errors.ts";
import {
  hostField as host,
  labelField as name,
  logLevelField,
  portField as port,
  textField,
  type ConfigKey,
} from "../runtime/config/index.ts";
import { readFileIfExists, readRecord, writeRecord } from "../runtime/files/index.ts";
import { withFormat, withoutFormat } from "../runtime/local/index.ts";
import { parseKeyReference } from "../runtime/key-module/index.ts";
import {
  hasPassword,
  parsePostgresUrl,
  withoutPassword,
  type PostgresAddress,
} from "../runtime/postgres/index.ts";
import { parseBalancers } from "../transport/index.ts";

const postgresField = textField.superRefine((text, context) => {
  if (text === "off") return;
  try {
    parsePostgresUrl(text);
  } catch (error) {
    context.addIssue(explain(error));
  }
});

const balancersField = textField.superRefine((text, context) => {
  if (text === "off") return;
  try {
    parseBalancers(text);
  } catch (error) {
    context.addIssue(explain(error));
  }
});

const keyReferenceField = textField.superRefine((text, context) => {
  try {
    parseKeyReference(text);
  } catch (error) {
    context.addIssue(explain(error));
  }
});

const pathField = textField.startsWith("/", "expected a path from / on");

const retentionWords = "expected off, or a duration from 1d on, as 90d";
const retentionField = textField.refine((text) => {
  try {
    return text === "off" || parseDurationMs(text, "retention") >= 86_400_000;
  } catch {
    return false;
  }
}, retentionWords);

export const hubConfigSchema = z.strictObject({
  dataDir: textField,
  name: name.optional(),
  host: host.optional(),
  port: port.optional(),
  proxyProtocol: balancersField.optional(),
  postgres: postgresField.optional(),
  postgresPasswordFile: pathField.optional(),
  authority: pathField.optional(),
  authorityKey: keyReferenceField.optional(),
  retention: retentionField.optional(),
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
  proxyProtocol: {
    text: "addresses of balancers that pass TCP through to this port and begin each connection with a PROXY header of version 2; connections from elsewhere are refused",
    takes: "<addresses>",
    default: "off",
    env: "SKERRY_HUB_PROXY_PROTOCOL",
    kept: true,
  },
  postgres: {
    text: "PostgreSQL 15 or newer for the streams of many cells, postgres://USER@HOST:PORT/DATABASE; off: SQLite again. A password in it only by variable or file",
    takes: "<url>",
    default: "off",
    env: "SKERRY_HUB_POSTGRES",
    secret: true,
    kept: true,
  },
  postgresPasswordFile: {
    text: "file with the password for PostgreSQL, read at each start",
    takes: "<file>",
    env: "SKERRY_HUB_POSTGRES_PASSWORD_FILE",
    kept: true,
  },
  authority: {
    text: "folder of the hub's certificate authority, the same for all hub processes of one database (default: identity in the data folder)",
    takes: "<dir>",
    env: "SKERRY_HUB_AUTHORITY",
    kept: true,
  },
  authorityKey: {
    text: "the authority's key in a module (PKCS#11), by an RFC 7512 URI: pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY&pin-source=file:FILE; its folder then keeps this and the certificate only (default: as the folder says)",
    takes: "<uri>",
    env: "SKERRY_HUB_AUTHORITY_KEY",
    // Whoever puts a PIN into it finds it in no answer and no log.
    secret: true,
    kept: true,
  },
  retention: {
    text: "how long entries of streams are kept here since they arrived; a stream of a cell also has 10 GiB at most",
    takes: "<duration>",
    default: "off",
    env: "SKERRY_HUB_RETENTION",
    kept: true,
  },
  logLevel: {
    text: "debug, info, warn or error",
    takes: "<level>",
    default: "info",
    kept: false,
  },
};

const hubRecordSchema = z.strictObject({
  name,
  host,
  port,
  proxyProtocol: z.string().optional(),
  /** Without a password. */
  postgres: z.string().optional(),
  postgresPasswordFile: z.string().optional(),
  authority: z.string().optional(),
  retention: z.string().optional(),
});
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
  const given = (
    key: "proxyProtocol" | "postgres" | "postgresPasswordFile" | "authority" | "retention",
  ) => {
    const value = config[key] ?? kept?.[key];
    return value === undefined || value === "off" ? {} : { [key]: withoutPassword(value) };
  };
  return {
    name: config.name ?? kept?.name ?? "hub",
    host: config.host ?? kept?.host ?? "127.0.0.1",
    port: config.port ?? kept?.port ?? 9443,
    ...given("proxyProtocol"),
    ...given("postgres"),
    ...given("postgresPasswordFile"),
    ...given("authority"),
    ...given("retention"),
  };
}

/**
 * Where this start finds PostgreSQL, with the password; undefined on SQLite. Throws
 * `invalid-postgres-url`, `file-unreadable`.
 */
export function postgresOf(config: HubConfig, record: HubRecord): PostgresAddress | undefined {
  if (record.postgres === undefined) return undefined;
  const { postgres: given } = config;
  const address = parsePostgresUrl(
    given === undefined || given === "off" ? record.postgres : given,
  );
  const { postgresPasswordFile: path } = record;
  if (path === undefined || (given !== undefined && hasPassword(given))) return address;
  const content = readFileIfExists(path);
  if (content === undefined)
    throw new SkerryError({
      code: "file-unreadable",
      message: `postgresPasswordFile: ${path} does not exist`,
      hint: "write the password of the hub's user in PostgreSQL into it, readable by the hub only",
    });
  return { ...address, password: content.toString().replace(/\r?\n$/, "") };
}

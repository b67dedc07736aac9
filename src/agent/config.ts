/**
 * What an agent needs to know to start. The first start takes it from flags, environment or yaml and
 * writes what lasts to `node.json`; later starts need nothing but the data folder.
 */
import { join } from "node:path";
import * as z from "zod";
import { isAddressInNetwork } from "../api/index.ts";
import { parseJoinToken } from "../identity/index.ts";
import { SkerryError } from "../lib/errors.ts";
import {
  addressField as address,
  hostField as host,
  labelField as label,
  logLevelField,
  portField as port,
  shareField,
  switchField,
  textField,
  urlField,
} from "../runtime/config/index.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";
import { withFormat, withoutFormat } from "../runtime/local/index.ts";
import { backupEveryField, bytesField, proxyField } from "./config-fields.ts";

export const agentConfigSchema = z.strictObject({
  dataDir: textField,
  /** Name of the cell; given on its first machine only. */
  cell: label.optional(),
  node: label.optional(),
  /** The node's own address; every listener binds it. */
  host: host.optional(),
  /** Join an existing cell: a token from `skerry token create`, and a server's peers port. */
  join: textField.optional(),
  server: address.optional(),
  /** Enrol the cell at a hub (first machine): HOST:PORT, and a token from `skerry token create --cell NAME` there. */
  hub: address.optional(),
  hubToken: textField.optional(),
  /** The way to the hub: an HTTP proxy that allows CONNECT. */
  hubProxy: proxyField.optional(),
  /** What this node may send to the hub, compressed. */
  hubBytesPerSecond: bytesField.optional(),
  hubBytesPerDay: bytesField.optional(),
  apiPort: port.optional(),
  meshPort: port.optional(),
  peersPort: port.optional(),
  gatewayPort: port.optional(),
  mqttPort: port.optional(),
  /** Plain MQTT without TLS, for devices that have none; absent: off. */
  mqttPlainPort: port.optional(),
  ingressPort: port.optional(),
  /** Servers of a cell with several: etcd's clients and its peers. */
  ledgerPort: port.optional(),
  ledgerPeersPort: port.optional(),
  telemetry: switchField.optional(),
  /** First machine: an address of the cell, which its nodes hold in turn; several by commas. */
  cellAddress: textField
    .refine(
      (text) => text.split(",").every(isAddressInNetwork),
      "expected addresses with their network's prefix, as 192.0.2.50/24",
    )
    .optional(),
  cellAddressInterface: textField.optional(),
  /** `eager`: in a cell of two, silence of the other is enough to start its pods here (rule E). */
  evict: z.enum(["careful", "eager"], "expected careful or eager").optional(),
  /** Servers: how often the cell is backed up. */
  backupEvery: backupEveryField.optional(),
  logLevel: logLevelField.optional(),
  /** OTLP over HTTP; absent: no traces. */
  tracesEndpoint: urlField.optional(),
  tracesShare: shareField.optional(),
});

export type AgentConfig = z.infer<typeof agentConfigSchema>;

const portsSchema = z.strictObject({
  api: port,
  mesh: port,
  peers: port,
  gateway: port,
  mqtt: port,
  mqttPlain: port.optional(),
  ingress: port,
  ledger: port.default(7446),
  ledgerPeers: port.default(7447),
});

/** `node.json`: who this machine is in its cell. */
const nodeRecordSchema = z.strictObject({
  cell: label,
  node: label,
  role: z.enum(["server", "worker"]),
  host: z.string(),
  ports: portsSchema,
  /** The API of the server it joined through, until the mirror knows better. */
  serverApi: address.optional(),
  /** As a server it had the cell's ledger on its disk: it never begins another one. */
  hadLedger: z.literal(true).optional(),
  hub: address.optional(),
  hubProxy: proxyField.optional(),
  hubBytesPerSecond: bytesField.optional(),
  hubBytesPerDay: bytesField.optional(),
  telemetry: z.boolean(),
  evict: z.enum(["careful", "eager"]).default("careful"),
  backupEvery: backupEveryField.optional(),
});

export type NodeRecord = z.infer<typeof nodeRecordSchema>;

export const nodeRecordPath = (dataDir: string) => join(dataDir, "node.json");

/** Throws `file-torn`, `data-newer`, or `invalid-config` when the record is not what was written. */
export function readNodeRecord(dataDir: string): NodeRecord | undefined {
  const path = nodeRecordPath(dataDir);
  const value = withoutFormat(path, readOrExplain(path));
  return value === undefined ? undefined : nodeRecordOf(value, path);
}

/** `path` says where `value` comes from. Throws `invalid-config` when it is no record. */
export function nodeRecordOf(value: unknown, path: string): NodeRecord {
  const result = nodeRecordSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new SkerryError({
    code: "invalid-config",
    message: `${path}: ${issue?.path.join(".")}: ${issue?.message}`,
    hint: "it was written by another version; move it away and join the cell again",
  });
}

function readOrExplain(path: string): unknown {
  try {
    return readRecord(path);
  } catch (cause) {
    if (!(cause instanceof SkerryError) || cause.code !== "file-torn") throw cause;
    throw new SkerryError({
      code: "file-torn",
      message: cause.message,
      hint: "move it away and give the flags of the first start again (--cell, --node, --host; on a worker --node, --host, --join, --server); identity and data are kept",
      cause,
    });
  }
}

export function writeNodeRecord(dataDir: string, record: NodeRecord): void {
  writeRecord(nodeRecordPath(dataDir), withFormat(record));
}

/** The cell that flag or token name. Throws `invalid-token`, or `invalid-config` when flag and token differ. */
function cellOf({ cell, join }: AgentConfig): string | undefined {
  const tokenCell = join === undefined ? undefined : parseJoinToken(join).cell;
  if (cell !== undefined && tokenCell !== undefined && cell !== tokenCell) {
    throw new SkerryError({
      code: "invalid-config",
      message: `cell: "${cell}" was given, but the token is for cell "${tokenCell}"`,
      hint: "leave --cell out beside --join, or create the token on a server of the other cell",
    });
  }
  return cell ?? tokenCell;
}

/**
 * The record this start runs with: what lasts from an earlier start, overridden by what was given
 * now. Refuses to make another node or cell out of an existing data folder.
 */
export function resolveNodeRecord(
  config: AgentConfig,
  existing: NodeRecord | undefined,
): NodeRecord {
  const fixed = (
    field: "cell" | "node",
    given: string | undefined,
    kept: string | undefined,
  ): string => {
    if (given !== undefined && kept !== undefined && given !== kept) {
      throw new SkerryError({
        code: "invalid-config",
        message: `${field}: "${given}" was given, but ${config.dataDir} belongs to ${field} "${kept}"`,
        hint: "use another --data folder, or leave the flag out",
      });
    }
    const value = given ?? kept;
    if (value === undefined) {
      throw new SkerryError({
        code: "invalid-config",
        message: `${field}: missing, and ${config.dataDir} holds no node yet`,
        hint: "first machine of a cell: skerry up --cell NAME --node NAME; further ones: skerry up --node NAME --join TOKEN --server HOST:PORT",
      });
    }
    return value;
  };
  if (!existing && (config.join === undefined) !== (config.server === undefined)) {
    throw new SkerryError({
      code: "invalid-config",
      message:
        config.join === undefined
          ? "join: missing beside --server"
          : "server: missing beside --join",
      hint: "joining a cell takes both: --join TOKEN --server HOST:PORT",
    });
  }
  const ports = existing?.ports;
  const mqttPlain = config.mqttPlainPort ?? ports?.mqttPlain;
  const hub = config.hub ?? existing?.hub;
  const hubProxy = config.hubProxy ?? existing?.hubProxy;
  const backupEvery = config.backupEvery ?? existing?.backupEvery;
  const hubBytesPerSecond = config.hubBytesPerSecond ?? existing?.hubBytesPerSecond;
  const hubBytesPerDay = config.hubBytesPerDay ?? existing?.hubBytesPerDay;
  const record: NodeRecord = {
    cell: fixed("cell", cellOf(config), existing?.cell),
    node: fixed("node", config.node, existing?.node),
    role: existing?.role ?? (config.join === undefined ? "server" : "worker"),
    host: config.host ?? existing?.host ?? "127.0.0.1",
    ports: {
      api: config.apiPort ?? ports?.api ?? 7443,
      mesh: config.meshPort ?? ports?.mesh ?? 7444,
      peers: config.peersPort ?? ports?.peers ?? 7445,
      gateway: config.gatewayPort ?? ports?.gateway ?? 7480,
      mqtt: config.mqttPort ?? ports?.mqtt ?? 8883,
      ingress: config.ingressPort ?? ports?.ingress ?? 8080,
      ledger: config.ledgerPort ?? ports?.ledger ?? 7446,
      ledgerPeers: config.ledgerPeersPort ?? ports?.ledgerPeers ?? 7447,
      ...(mqttPlain === undefined ? {} : { mqttPlain }),
    },
    ...(existing?.serverApi === undefined ? {} : { serverApi: existing.serverApi }),
    ...(existing?.hadLedger ? { hadLedger: true as const } : {}),
    ...(hub === undefined ? {} : { hub }),
    ...(hubProxy === undefined || hubProxy === "off" ? {} : { hubProxy }),
    ...(hubBytesPerSecond === undefined ? {} : { hubBytesPerSecond }),
    ...(hubBytesPerDay === undefined ? {} : { hubBytesPerDay }),
    telemetry: config.telemetry ?? existing?.telemetry ?? true,
    evict: config.evict ?? existing?.evict ?? "careful",
    ...(backupEvery === undefined ? {} : { backupEvery }),
  };
  refuseSharedPorts(record);
  return record;
}

/** Each listener has a port of its own; 0 is picked for each anew. */
function refuseSharedPorts({ ports }: NodeRecord): void {
  const nameByPort = new Map<number, string>();
  for (const [name, number] of Object.entries(ports)) {
    const other = number === 0 ? undefined : nameByPort.get(number);
    nameByPort.set(number, name);
    if (other === undefined) continue;
    throw new SkerryError({
      code: "invalid-config",
      message: `${name}Port: ${number} is ${other}Port as well`,
      hint: "give one of them another port, or 0 for any free one",
    });
  }
}

/** The record by the keys of the configuration. */
export function configOf(record: NodeRecord): Partial<AgentConfig> {
  const { cell, node, hub, hubProxy, ports, telemetry, evict, backupEvery } = record;
  const { hubBytesPerSecond, hubBytesPerDay } = record;
  return {
    cell,
    node,
    host: record.host,
    ...(hub === undefined ? {} : { hub }),
    ...(hubProxy === undefined ? {} : { hubProxy }),
    ...(hubBytesPerSecond === undefined ? {} : { hubBytesPerSecond }),
    ...(hubBytesPerDay === undefined ? {} : { hubBytesPerDay }),
    apiPort: ports.api,
    meshPort: ports.mesh,
    peersPort: ports.peers,
    gatewayPort: ports.gateway,
    mqttPort: ports.mqtt,
    ...(ports.mqttPlain === undefined ? {} : { mqttPlainPort: ports.mqttPlain }),
    ingressPort: ports.ingress,
    ledgerPort: ports.ledger,
    ledgerPeersPort: ports.ledgerPeers,
    telemetry,
    evict,
    ...(backupEvery === undefined ? {} : { backupEvery }),
  };
}

/**
 * What a start of this node would run with, and what of it will not work on this machine. Looks,
 * opens listeners for a moment, and changes nothing.
 */
import {
  effectiveValues,
  folderWarnings,
  resolveInFolder,
  type EffectiveValue,
  type Loaded,
} from "../runtime/config/index.ts";
import { whyNotListen, type Place } from "../runtime/listen/index.ts";
import { findInfo, isHubFolder } from "../runtime/local/index.ts";
import { isAlive } from "../runtime/process/index.ts";
import { agentConfigKeys } from "./config-keys.ts";
import {
  configOf,
  nodeRecordPath,
  readNodeRecord,
  resolveNodeRecord,
  type AgentConfig,
  type NodeRecord,
} from "./config.ts";
import type { AgentInfo } from "./local.ts";

export type Preflight = {
  readonly values: readonly EffectiveValue[];
  /** What will not work here, each with its reason. */
  readonly warnings: readonly string[];
};

/** Throws `invalid-config`, `invalid-token`, `file-torn` or `data-newer`, as a start would. */
export async function examineNodeConfig(given: Loaded<AgentConfig>): Promise<Preflight> {
  const { config } = given;
  const { dataDir } = config;
  const folder = folderWarnings(dataDir);
  const existing = readNodeRecord(dataDir);
  const { record, refusal } = resolveInFolder((kept) => resolveNodeRecord(config, kept), existing);
  const warnings = [
    ...(isHubFolder(dataDir) ? [`dataDir: ${dataDir} belongs to a hub`] : []),
    ...refusal,
    ...folder,
    ...(isRunning(dataDir) ? [] : await closedPlaces(record)),
  ];
  const kept = refusal.length > 0 || !existing ? {} : configOf(existing);
  const effective = { ...configOf(record), dataDir };
  return {
    values: effectiveValues({
      keys: agentConfigKeys,
      given,
      effective,
      kept: { values: kept, path: nodeRecordPath(dataDir) },
    }),
    warnings,
  };
}

/** Its own listeners are no obstacle to its next start. */
function isRunning(dataDir: string): boolean {
  const info = findInfo<AgentInfo>(dataDir, "node");
  return info !== undefined && isAlive(info.process);
}

async function closedPlaces({ host, ports }: NodeRecord): Promise<string[]> {
  // etcd outlives the agent: what holds its ports may be this node's own.
  const isEtcds = (name: string) => name.startsWith("ledger");
  const places: Place[] = Object.entries(ports)
    .filter(([name]) => !isEtcds(name))
    .map(([name, port]) => ({
      host,
      port,
      protocol: "tcp",
      what: `${name}Port`,
    }));
  places.push({ host, port: ports.peers, protocol: "udp", what: "peersPort (UDP)" });
  const address = await whyNotListen({ host, port: 0, protocol: "tcp", what: "host" });
  // An address that is not of this machine has no ports worth a line each.
  if (address !== undefined) return [address];
  const reasons = await Promise.all(
    places.filter(({ port }) => port !== 0).map((place) => whyNotListen(place)),
  );
  return reasons.filter((reason) => reason !== undefined);
}

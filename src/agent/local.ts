/**
 * What the command line finds in a data folder: whose it is, where its listeners are, and the
 * credentials that the agent or the hub left there for the user who may read them.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../lib/errors.ts";
import { readFileIfExists, writeFileAtomic } from "../runtime/files/index.ts";

/** `agent.json`: written when the agent is ready, replaced at every start. */
export type AgentInfo = {
  readonly node: string;
  readonly cell: string;
  readonly role: "server" | "worker";
  readonly dataDir: string;
  readonly agentPid: number;
  /** HOST:PORT each, except `gateway`, which is a URL. */
  readonly api: string;
  readonly peers: string;
  readonly gateway: string;
  readonly ingress: string;
  readonly mqtt: string;
  readonly mqttPlain?: string;
};

/** `hub.info.json`: the same for a hub. */
export type HubInfo = {
  readonly name: string;
  readonly dataDir: string;
  readonly address: string;
  readonly pid: number;
};

/** `admin.json`, mode 0600: an administrator's certificate and where to use it. */
export type Access = {
  /** `https://127.0.0.11:7443` */
  readonly server: string;
  /** The name its certificate carries. */
  readonly serverName: string;
  readonly keyPem: string;
  readonly chainPem: string;
  readonly anchorsPem: readonly string[];
};

export const agentInfoPath = (dataDir: string) => join(dataDir, "agent.json");
export const hubInfoPath = (dataDir: string) => join(dataDir, "hub.info.json");
const accessPath = (dataDir: string) => join(dataDir, "admin.json");

export function writeInfo(path: string, info: AgentInfo | HubInfo): void {
  writeFileAtomic(path, `${JSON.stringify(info)}\n`, { mode: 0o644 });
}

export function writeAccess(dataDir: string, access: Access): void {
  writeFileAtomic(accessPath(dataDir), `${JSON.stringify(access)}\n`);
}

export const isHubFolder = (dataDir: string) => existsSync(join(dataDir, "hub.json"));
export const isNodeFolder = (dataDir: string) => existsSync(join(dataDir, "node.json"));

/** Throws `no-data-folder` when nothing of Skerry is in `dataDir`, `not-running` when it never got ready. */
export function readAgentInfo(dataDir: string): AgentInfo {
  return readInfo(agentInfoPath(dataDir), dataDir) as AgentInfo;
}

export function readHubInfo(dataDir: string): HubInfo {
  return readInfo(hubInfoPath(dataDir), dataDir) as HubInfo;
}

function readInfo(path: string, dataDir: string): unknown {
  const content = readFileIfExists(path);
  if (content) return JSON.parse(content.toString());
  if (isNodeFolder(dataDir) || isHubFolder(dataDir)) {
    throw new SkerryError({
      code: "not-running",
      message: `nothing has got ready in ${dataDir} yet`,
      hint: `start it: skerry ${isHubFolder(dataDir) ? "hub" : "up"} --data ${dataDir}; its log: ${join(dataDir, "logs")}`,
    });
  }
  throw new SkerryError({
    code: "no-data-folder",
    message: `${dataDir} holds neither a node nor a hub`,
    hint: "name the folder with --data, or start something: skerry demo, skerry up, skerry hub",
  });
}

/** Throws `no-admin-access` on machines that are not servers. */
export function readAccess(dataDir: string): Access {
  const path = accessPath(dataDir);
  if (!existsSync(path)) {
    readAgentInfo(dataDir);
    throw new SkerryError({
      code: "no-admin-access",
      message: `${dataDir} holds no administrator's certificate`,
      hint: "run this on a server machine of the cell (the first one), or copy its kubeconfig",
    });
  }
  return JSON.parse(readFileSync(path, "utf8")) as Access;
}

/**
 * What a running agent or hub leaves in its data folder for the command line on the same machine:
 * where it listens (`info`), and on servers and hubs an administrator's certificate (`access`).
 */
import { closeSync, existsSync, ftruncateSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { readFileIfExists, writeFileAtomic } from "../files/index.ts";

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

export { dataFormat, withFormat, withoutFormat } from "./format.ts";

const infoFile = { node: "agent.json", hub: "hub.info.json" } as const;
const recordFile = { node: "node.json", hub: "hub.json" } as const;
const accessPath = (dataDir: string) => join(dataDir, "admin.json");

export const isHubFolder = (dataDir: string) => existsSync(join(dataDir, recordFile.hub));
export const isNodeFolder = (dataDir: string) => existsSync(join(dataDir, recordFile.node));

/** Replaces what an earlier start left; readable by everybody on the machine. */
export function writeInfo(dataDir: string, of: "node" | "hub", info: object): void {
  replace(join(dataDir, infoFile[of]), `${JSON.stringify(info)}\n`, 0o644);
}

/**
 * A start on a full disk has no room for a file beside the old one, so it writes over the old one's
 * blocks. Torn by a power cut it would be missed by nobody: the next start writes it anew.
 */
function replace(path: string, content: string, mode: number): void {
  try {
    writeFileAtomic(path, content, { mode });
  } catch (error) {
    if (!existsSync(path)) throw error;
    const fd = openSync(path, "r+");
    try {
      const bytes = Buffer.from(content);
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
      ftruncateSync(fd, bytes.length);
    } finally {
      closeSync(fd);
    }
  }
}

/** Undefined when it never got ready. Throws `file-torn`. */
export function findInfo<Info>(dataDir: string, of: "node" | "hub"): Info | undefined {
  const content = readFileIfExists(join(dataDir, infoFile[of]));
  return content && parse<Info>(join(dataDir, infoFile[of]), content);
}

/** These files are written anew at every start, so that a damaged one holds nothing that is missed. */
function parse<T>(path: string, content: Buffer): T {
  try {
    return JSON.parse(content.toString()) as T;
  } catch (cause) {
    throw new SkerryError({
      code: "file-torn",
      message: `${path} is damaged`,
      hint: "remove it; every start writes it anew",
      cause,
    });
  }
}

/** Throws `no-data-folder` when nothing of Skerry is in `dataDir`, `not-running` when it never got ready. */
export function readInfo<Info>(dataDir: string, of: "node" | "hub"): Info {
  const info = findInfo<Info>(dataDir, of);
  if (info) return info;
  if (isNodeFolder(dataDir) || isHubFolder(dataDir)) {
    throw new SkerryError({
      code: "not-running",
      message: `nothing has got ready in ${dataDir} yet`,
      hint: `start it: skerry ${isHubFolder(dataDir) ? "hub" : "up"} --data ${dataDir}; its log stands in ${join(dataDir, "logs")}`,
    });
  }
  throw new SkerryError({
    code: "no-data-folder",
    message: `${dataDir} holds neither a node nor a hub`,
    hint: "name the folder with --data, or start something: skerry demo, skerry up, skerry hub",
  });
}

export function writeAccess(dataDir: string, access: Access): void {
  replace(accessPath(dataDir), `${JSON.stringify(access)}\n`, 0o600);
}

/** A machine that is no server any more holds no administrator's certificate. */
export const forgetAccess = (dataDir: string) => rmSync(accessPath(dataDir), { force: true });

/** Whether this machine is, or was, a server or a hub. */
export const hasAccess = (dataDir: string) => existsSync(accessPath(dataDir));

/** Throws `no-admin-access` on machines that are not servers. */
export function readAccess(dataDir: string): Access {
  const content = readFileIfExists(accessPath(dataDir));
  if (content) return parse<Access>(accessPath(dataDir), content);
  readInfo(dataDir, isHubFolder(dataDir) ? "hub" : "node");
  throw new SkerryError({
    code: "no-admin-access",
    message: `${dataDir} holds no administrator's certificate`,
    hint: "run this on a server machine of the cell (skerry status says which those are), or use a kubeconfig of one",
  });
}

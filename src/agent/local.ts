/** What a node's agent leaves for the command line, and the tokens the command line makes of it. */
import {
  knownTimeMs,
  mintAppToken,
  openNodeIdentity,
  spiffeId,
  type Authority,
} from "../identity/index.ts";
import { renderKubeconfig } from "../apiserver/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { steadyClock } from "../runtime/clock/index.ts";
import { readInfo, writeAccess, type Access } from "../runtime/local/index.ts";
import type { ProcessIdentity } from "../runtime/process/index.ts";
import { identityFolder } from "./data-folder.ts";

/** `agent.json`: written when the agent is ready, replaced at every start. */
export type AgentInfo = {
  readonly node: string;
  readonly cell: string;
  readonly role: "server" | "worker";
  readonly dataDir: string;
  /** Absent in what agents of before 0.2 wrote. */
  readonly version?: string;
  readonly agentPid: number;
  /** Tells it from a later process that got its pid. */
  readonly process: ProcessIdentity;
  /** HOST:PORT each, except `gateway`, which is a URL. */
  readonly api: string;
  readonly peers: string;
  readonly gateway: string;
  readonly ingress: string;
  readonly mqtt: string;
  readonly mqttPlain?: string;
};

export const readAgentInfo = (dataDir: string): AgentInfo => readInfo<AgentInfo>(dataDir, "node");

/** An administrator's certificate, for whoever may read this data folder; `api`: HOST:PORT. */
export async function writeAdminAccess(
  dataDir: string,
  authority: Authority,
  api: string,
): Promise<void> {
  const { trustDomain, trust } = authority;
  writeAccess(dataDir, {
    server: `https://${api}`,
    serverName: `api.${trustDomain}`,
    ...(await authority.issueCredentials(spiffeId(trustDomain, "user", "admin"))),
    anchorsPem: trust.anchorsPem,
  });
}

/**
 * A bearer token from this node's own key: whoever may read the data folder may speak for its
 * applications. It may end before `ttlMs`, with the node's certificate. Throws `no-data-folder`,
 * `not-running`.
 */
export function mintLocalToken(
  dataDir: string,
  options: { subject: "user/cli" | `app/${string}`; ttlMs: number; clock: Clock },
): { token: string; expiresAtMs: number; isCut: boolean } {
  const identity = openNodeIdentity(identityFolder(dataDir));
  if (!identity) {
    readAgentInfo(dataDir);
    throw new SkerryError({
      code: "not-running",
      message: `${dataDir} has no identity yet`,
      hint: "wait until the node has joined its cell",
    });
  }
  const { trustDomain } = identity.trust;
  // The agent judges by the cell's time, whatever this machine's clock says.
  const nowMs = knownTimeMs(identityFolder(dataDir), {
    clock: options.clock,
    steady: steadyClock(),
  });
  const [kind = "", name = ""] = options.subject.split("/");
  const minted = mintAppToken(
    { nowMs: () => nowMs, credentials: identity.identity },
    { subject: spiffeId(trustDomain, kind, name), lifetimeMs: options.ttlMs },
  );
  return { ...minted, isCut: minted.expiresAtMs < nowMs + options.ttlMs };
}

export function renderAccessKubeconfig(access: Access): string {
  return renderKubeconfig({
    cell: access.serverName.replace(/^api\./, "").replace(/\.skerry$/, ""),
    server: access.server,
    caPem: access.anchorsPem.join(""),
    certPem: access.chainPem,
    keyPem: access.keyPem,
    tlsServerName: access.serverName,
  });
}

/**
 * A throw-away site: a hub and a cell of three nodes, real processes with a data folder and a loopback
 * address each, started and stopped through the command line only. The hub is reached through a link
 * that the drill can cut.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createCluster, type Cluster } from "../../client/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { createTlsFetch, type TlsFetch } from "../../runtime/http/index.ts";
import { startLinkProxy, type LinkProxy } from "../faults/link-proxy.ts";
import { skerryJson } from "./command.ts";

/** What `skerry up --detach --json` answers. */
export type NodeInfo = {
  readonly node: string;
  readonly dataDir: string;
  readonly agentPid: number;
  readonly api: string;
  readonly gateway: string;
  readonly ingress: string;
  readonly mqttPlain: string;
};

export type HubInfo = { readonly dataDir: string; readonly address: string; readonly pid: number };

/** What `skerry kubeconfig --json` answers. */
type Access = {
  server: string;
  serverName: string;
  keyPem: string;
  chainPem: string;
  anchorsPem: string[];
};

export type Site = {
  readonly hub: HubInfo;
  readonly hubAccess: Access;
  readonly nodes: readonly (NodeInfo & { readonly token: string })[];
  readonly cluster: Cluster;
  readonly wan: LinkProxy;
  /** Fresh facts about a node: a new agent has a new pid. */
  nodeInfo(name: string): NodeInfo;
  close(): Promise<void>;
};

export async function startSite(options: {
  dir: string;
  cell: string;
  /** Third octet of 127.0.N.x, so that several sites fit one machine. */
  subnet: number;
  clock: Clock;
  signal: AbortSignal;
  progress(text: string): void;
}): Promise<Site> {
  const { dir, cell, signal } = options;
  mkdirSync(dir, { recursive: true });
  const hostOf = (last: number) => `127.0.${options.subnet}.${last}`;
  const dataDirOf = (name: string) => join(dir, name);
  const closers: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) await closer();
  };
  try {
    options.progress("starting the hub");
    const hub = await skerryJson<HubInfo>(
      ["hub", "--data", dataDirOf("hub"), "--host", hostOf(10), "--detach"],
      { signal },
    );
    closers.push(() => skerryJson(["down", "--data", hub.dataDir]));
    const [hubHost = "", hubPort = ""] = hub.address.split(":");
    const wan = await startLinkProxy({
      host: hostOf(9),
      port: 0,
      target: { host: hubHost, port: Number(hubPort) },
    });
    closers.push(() => wan.close());

    options.progress("starting the first node");
    const hubToken = await skerryJson<{ token: string }>(
      ["token", "create", "--cell", cell, "--data", hub.dataDir],
      { signal },
    );
    const up = (name: string, last: number, flags: readonly string[]) => {
      closers.push(() => skerryJson(["down", "--data", dataDirOf(name)]));
      return skerryJson<NodeInfo & { peers: string }>(
        [
          "up",
          "--data",
          dataDirOf(name),
          "--node",
          name,
          "--host",
          hostOf(last),
          "--mqtt-plain-port",
          "1883",
          "--detach",
          ...flags,
        ],
        { signal },
      );
    };
    const first = await up("n1", 11, [
      "--cell",
      cell,
      "--hub",
      `${hostOf(9)}:${wan.port}`,
      "--hub-token",
      hubToken.token,
    ]);
    options.progress("joining two more nodes");
    const join2 = await skerryJson<{ token: string }>(
      ["token", "create", "--node", "n2", "--data", first.dataDir],
      { signal },
    );
    const join3 = await skerryJson<{ token: string }>(
      ["token", "create", "--node", "n3", "--data", first.dataDir],
      { signal },
    );
    const others = await Promise.all([
      up("n2", 12, ["--join", join2.token, "--server", first.peers]),
      up("n3", 13, ["--join", join3.token, "--server", first.peers]),
    ]);
    const nodes = await Promise.all(
      [first, ...others].map(async (node) => {
        const { token } = await skerryJson<{ token: string }>(
          ["token", "create", "--app", "drill", "--data", node.dataDir],
          { signal },
        );
        return { ...node, token };
      }),
    );

    const access = await skerryJson<Access>(["kubeconfig", "--data", first.dataDir], { signal });
    const hubAccess = await skerryJson<Access>(["kubeconfig", "--data", hub.dataDir], { signal });
    const tls: TlsFetch = createTlsFetch(access);
    closers.push(() => tls.close());
    return {
      hub,
      hubAccess,
      nodes,
      wan,
      cluster: createCluster({
        server: access.server,
        fetch: tls.fetch,
        fieldManager: "skerry-drill",
      }),
      nodeInfo: (name) =>
        JSON.parse(readFileSync(join(dataDirOf(name), "agent.json"), "utf8")) as NodeInfo,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

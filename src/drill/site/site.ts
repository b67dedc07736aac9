/**
 * A throw-away site: a hub and a cell of three nodes, real processes with a data folder and an address
 * each, started and stopped through the command line only. The hub is reached through a link that the
 * drill can cut.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createCluster, type Cluster } from "../../client/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { createTlsFetch, type TlsFetch } from "../../runtime/tls-fetch/index.ts";
import { startLinkProxy, type LinkProxy } from "../faults/link-proxy.ts";
import { createMachines, type Environment, type Machines } from "./machines.ts";
import type { MachineName, Network } from "./network.ts";
import { killAll, processesOfFolder } from "./processes.ts";

/** What `skerry up --detach --json` answers. */
export type NodeInfo = {
  readonly node: string;
  readonly dataDir: string;
  readonly agentPid: number;
  readonly api: string;
  readonly peers: string;
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

export type SiteNode = NodeInfo & { readonly token: string };

export type Site = Machines & {
  readonly hub: HubInfo;
  readonly hubAccess: Access;
  /** The first is the server, or was the first one. */
  readonly nodes: readonly SiteNode[];
  /** Through the API of the node that is looked from: at first the first one. */
  readonly cluster: Cluster;
  /** For when that one is about to be lost. */
  lookFrom(node: string): void;
  /** Through a node's API and a connection of its own, as every kubectl makes one. */
  asKubectl<T>(node: string, use: (cluster: Cluster) => Promise<T>): Promise<T>;
  readonly wan: LinkProxy;
  /** Fresh facts about a node: a new agent has a new pid. */
  nodeInfo(name: string): NodeInfo;
  /** A node that was killed, or the hub, with the flags it had; resolves when it is ready. */
  startNode(machine: MachineName): Promise<void>;
  /** SIGKILL to the hub's process, and to nothing else on its machine; resolves when it is gone. */
  killHub(): Promise<void>;
  /** Another machine under the name of one that was killed: with an empty folder, let in by `from`. */
  joinAnew(node: string, from: string): Promise<void>;
  close(): Promise<void>;
};

export type SiteOptions = {
  readonly dir: string;
  readonly cell: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** More flags of `hub`. */
  readonly hubFlags?: readonly string[];
  /** More flags of the first node's `up`. */
  readonly firstNodeFlags?: readonly string[];
  /** How many of the nodes hold the ledger, in their order; default 1. */
  readonly servers?: 1 | 2 | 3;
  /** Turns the command line that starts a node into one that starts it otherwise. */
  startedBy?(machine: MachineName, argv: readonly string[]): readonly string[];
  /** Given to every process of the site, or of one machine; what a pod sees is the keeper's affair. */
  readonly env?: Environment | ((machine: MachineName) => Environment);
  progress(text: string): void;
};

const nodeNames = ["n1", "n2", "n3"] as const;
/** All that `startSite` puts on a network. */
export const machineNames: readonly MachineName[] = ["observer", "hub", ...nodeNames];

export async function startSite(options: SiteOptions): Promise<Site> {
  const { dir, cell, signal, env = {} } = options;
  mkdirSync(dir, { recursive: true });
  const machines = createMachines({
    dir,
    network: options.network,
    clock: options.clock,
    envOf: (machine) => (typeof env === "function" ? env(machine) : env),
    ...(options.startedBy === undefined ? {} : { startedBy: options.startedBy }),
  });
  const { hostOf } = machines;
  const closers: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) await closer();
  };
  /** Whatever befell it: `down` has to reach its processes. */
  const closeLater = (machine: MachineName) =>
    closers.push(() => {
      machines.thawNode(machine);
      return machines.skerry(machine, ["down"]);
    });
  const startHub = () =>
    machines.skerry<HubInfo>(
      "hub",
      ["hub", "--host", hostOf("hub"), "--detach", ...(options.hubFlags ?? [])],
      signal,
    );
  const up = (name: string, flags: readonly string[]) => {
    closeLater(name);
    return start(name, flags);
  };
  const start = (name: string, flags: readonly string[]) =>
    machines.skerry<NodeInfo>(
      name,
      [
        "up",
        "--node",
        name,
        "--host",
        hostOf(name),
        "--mqtt-plain-port",
        "1883",
        "--detach",
      ].concat(flags),
      signal,
    );
  const token = async (machine: MachineName, ...args: string[]) =>
    (await machines.skerry<{ token: string }>(machine, ["token", "create", ...args], signal)).token;

  try {
    options.progress("starting the hub");
    closeLater("hub");
    const hub = await startHub();
    const [hubHost = "", hubPort = ""] = hub.address.split(":");
    const wan = await startLinkProxy({
      host: hostOf("observer"),
      port: 0,
      target: { host: hubHost, port: Number(hubPort) },
    });
    closers.push(() => wan.close());

    options.progress("starting the first node");
    const hubToken = await token("hub", "--cell", cell);
    const toHub = ["--hub", `${hostOf("observer")}:${wan.port}`, "--hub-token", hubToken];
    const [firstName, ...workers] = nodeNames;
    const first = await up(firstName, [
      "--cell",
      cell,
      ...toHub,
      ...(options.firstNodeFlags ?? []),
    ]);
    options.progress("joining two more nodes");
    const others = await Promise.all(
      workers.map(async (name) =>
        up(name, ["--join", await token(firstName, "--node", name), "--server", first.peers]),
      ),
    );
    const nodes = await Promise.all(
      [first, ...others].map(async (node) => ({
        ...node,
        token: await token(node.node, "--app", "drill"),
      })),
    );

    const { servers = 1 } = options;
    if (servers > 1) {
      options.progress("making them servers");
      const added = workers.slice(0, servers - 1);
      await machines.skerry(firstName, ["server", "add", ...added], signal);
    }
    const access = await machines.skerry<Access>(firstName, ["kubeconfig"], signal);
    const hubAccess = await machines.skerry<Access>("hub", ["kubeconfig"], signal);
    const tls = createTlsFetch(access);
    closers.push(() => tls.close());
    const clusterOf = (server: string, { fetch }: TlsFetch) =>
      createCluster({ server, fetch, fieldManager: "skerry-drill" });
    const nodeInfo = (name: string) =>
      JSON.parse(readFileSync(join(machines.dataDirOf(name), "agent.json"), "utf8")) as NodeInfo;
    let cluster = clusterOf(access.server, tls);
    return {
      ...machines,
      hub,
      hubAccess,
      nodes,
      wan,
      get cluster() {
        return cluster;
      },
      lookFrom(node) {
        cluster = clusterOf(`https://${nodeInfo(node).api}`, tls);
      },
      async asKubectl(node, use) {
        const own = createTlsFetch(access);
        try {
          return await use(clusterOf(`https://${nodeInfo(node).api}`, own));
        } finally {
          await own.close();
        }
      },
      nodeInfo,
      startNode: async (machine) => {
        await (machine === "hub"
          ? startHub()
          : machines.skerry(machine, ["up", "--detach"], signal));
      },
      killHub: () => killAll(() => processesOfFolder(machines.dataDirOf("hub")), options.clock),
      async joinAnew(node, from) {
        const { peers } = nodeInfo(from);
        const join = ["--join", await token(from, "--node", node), "--server", peers];
        await start(node, join);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
